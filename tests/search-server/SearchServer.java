import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import java.util.stream.Stream;

/**
 * Starts one search server node in this process: {@code SearchServer PORT DIRECTORY [setting=value ...]}.
 *
 * <p>It lives until standard input ends, then stops and takes its directory with it. So whoever holds the other end
 * of that pipe leaves nothing behind, however it ends. SIGTERM stops it and leaves the directory.
 *
 * <p>The runner libraries' own launchers allow neither every port nor every setting, so this one builds the node
 * from their parts. Everything goes by reflection: Elasticsearch and OpenSearch have the same shape under other names,
 * and one class file then serves both.
 */
public final class SearchServer {
  /** Where one family of servers keeps the classes that are needed. */
  private record Family(String runner, String node, String base) {}

  private static final List<Family> FAMILIES = List.of(
      new Family("org.codelibs.elasticsearch.runner.ElasticsearchClusterRunner",
          "org.codelibs.elasticsearch.runner.node.ClusterRunnerNode", "org.elasticsearch"),
      new Family("org.codelibs.opensearch.runner.OpenSearchRunner",
          "org.codelibs.opensearch.runner.node.OpenSearchRunnerNode", "org.opensearch"));

  public static void main(String[] args) throws Exception {
    if (args.length < 2) {
      System.err.println("usage: SearchServer PORT DIRECTORY [setting=value ...]");
      System.exit(2);
    }
    Family family = FAMILIES.stream().filter(f -> find(f.runner()) != null).findFirst()
        .orElseThrow(() -> new IllegalStateException("neither Elasticsearch nor OpenSearch is on the class path"));
    Path home = Path.of(args[1]).toAbsolutePath();
    for (String directory : List.of("config", "modules", "plugins")) {
      Files.createDirectories(home.resolve(directory));
    }
    Object environment = environment(family, home, settings(family, home, args));
    AutoCloseable node = (AutoCloseable) Class.forName(family.node()).getConstructors()[0]
        .newInstance(environment, modules(family));
    Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
    node.getClass().getMethod("start").invoke(node);
    while (System.in.read() >= 0) {
      // Nothing is said; only the end counts.
    }
    node.close();
    delete(home);
    System.exit(0);
  }

  private static void delete(Path directory) throws IOException {
    try (Stream<Path> paths = Files.walk(directory)) {
      for (Path path : (Iterable<Path>) paths.sorted(Comparator.reverseOrder())::iterator) {
        Files.deleteIfExists(path);
      }
    }
  }

  private static Object settings(Family family, Path home, String[] args) throws Exception {
    List<String> pairs = new ArrayList<>(List.of(
        "path.home=" + home,
        "cluster.name=weir-tests",
        "node.name=node",
        "network.host=127.0.0.1",
        "http.port=" + args[0],
        "transport.port=0",
        "discovery.type=single-node",
        // A test machine's disk may be nearly full; that is not what is tested.
        "cluster.routing.allocation.disk.threshold_enabled=false"));
    pairs.addAll(List.of(args).subList(2, args.length));
    Object builder = Class.forName(family.base() + ".common.settings.Settings").getMethod("builder").invoke(null);
    for (String pair : pairs) {
      String[] parts = pair.split("=", 2);
      builder.getClass().getMethod("put", String.class, String.class).invoke(builder, parts[0], parts[1]);
    }
    return builder.getClass().getMethod("build").invoke(builder);
  }

  private static Object environment(Family family, Path home, Object settings) throws Exception {
    Supplier<String> name = () -> "node";
    Class<?> type = Class.forName(family.base() + ".common.settings.Settings");
    return Class.forName(family.base() + ".node.InternalSettingsPreparer")
        .getMethod("prepareEnvironment", type, Map.class, Path.class, Supplier.class)
        .invoke(null, settings, Map.of(), home.resolve("config"), name);
  }

  /** The modules that a distribution would load from its own directory; those that are not there are left out. */
  private static List<Class<?>> modules(Family family) throws Exception {
    Field names = Class.forName(family.runner()).getDeclaredField("MODULE_TYPES");
    names.setAccessible(true);
    List<Class<?>> found = new ArrayList<>();
    for (String name : (String[]) names.get(null)) {
      Class<?> module = find(name);
      if (module != null) {
        found.add(module);
      }
    }
    return found;
  }

  private static Class<?> find(String name) {
    try {
      return Class.forName(name);
    } catch (ClassNotFoundException absent) {
      return null;
    }
  }

  private static void close(AutoCloseable node) {
    try {
      node.close();
    } catch (Exception failure) {
      System.err.println("closing the node: " + failure);
    }
  }
}
