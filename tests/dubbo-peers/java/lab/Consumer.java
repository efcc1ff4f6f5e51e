package lab;

import lab.api.*;
import org.apache.dubbo.common.utils.ReflectUtils;
import org.apache.dubbo.config.*;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.service.*;

import java.io.*;
import java.lang.reflect.*;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.*;

public class Consumer {
    static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    static int seq, bad, refs;
    static final String TP = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    static final String ATT = "tri".equals(Lab.PROTOCOL) ? "v=1;q" : "值"; // HTTP/2 headers are ASCII: triple turns 值 into ?

    static final String WIRE_SER = Lab.p("lab.urlSerialization", Lab.SERIALIZATION); // what the consumer writes; "none" leaves it out of the URL

    static String url(String extra) { return Lab.PROTOCOL + "://" + Lab.HOST + ":" + Lab.PORT + "?" + ("none".equals(WIRE_SER) ? "" : "serialization=" + WIRE_SER + "&") + "heartbeat=" + Lab.HEARTBEAT + extra; }

    static <T> ReferenceConfig<T> ref(String itf, String group, String version) {
        ReferenceConfig<T> r = new ReferenceConfig<>();
        r.setInterface(itf);
        r.setId("ref-" + ++refs);
        if (group != null) r.setGroup(group);
        if (version != null) r.setVersion(version);
        r.setUrl(url(""));                   // direct: no registry asked
        r.setProtocol(Lab.PROTOCOL);
        r.setRegistry(Lab.noRegistry());
        r.setTimeout(5000); r.setRetries(0); r.setCheck(true);
        r.setParameters(Lab.beat());
        return r;
    }
    static MethodConfig method(String name, Consumer2<MethodConfig> c) { MethodConfig m = new MethodConfig(); m.setName(name); c.accept(m); return m; }
    interface Consumer2<T> { void accept(T t); }

    static class Spec {
        String itf = DemoService.class.getName(), group, version, kind = "normal", wireMethod; Class<?>[] wireTypes; Object[] wireArgs; Map<String, String> att = new LinkedHashMap<>();
        Boolean twoWay = true; Predicate<Object> want = x -> true; Class<?> wantEx; String wantExMsg; int serverSleepMs; boolean lateResponse;
    }
    static Map<String, Object> line(Spec s, String method, Class<?>[] types, Object[] args) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("seq", ++seq); m.put("kind", s.kind); m.put("protocol", Lab.PROTOCOL); m.put("serialization", Lab.SERIALIZATION);
        m.put("service", s.itf); m.put("group", s.group); m.put("version", s.version); m.put("method", method);
        List<String> t = new ArrayList<>(); for (Class<?> c : types) t.add(c.getTypeName());
        m.put("paramTypes", t); m.put("args", args);
        Map<String, Object> w = new LinkedHashMap<>();
        w.put("method", s.wireMethod == null ? method : s.wireMethod);
        w.put("desc", ReflectUtils.getDesc(s.wireTypes == null ? types : s.wireTypes));
        w.put("twoWay", s.twoWay);
        if (s.lateResponse) w.put("lateResponse", true);
        m.put("wire", w);
        m.put("attachments", s.att);
        return m;
    }
    static void run(Spec s, String method, Class<?>[] types, Object[] args, Callable<Object> c) {
        Map<String, Object> m = line(s, method, types, args);
        s.att.forEach((k, v) -> RpcContext.getContext().setAttachment(k, v));
        m.put("startMs", System.currentTimeMillis());
        long t = System.nanoTime(); Object r = null; Throwable ex = null;
        try { r = c.call(); } catch (InvocationTargetException e) { ex = e.getCause(); } catch (Throwable e) { ex = e; }
        m.put("durMs", (System.nanoTime() - t) / 1_000_000);
        if (ex instanceof UndeclaredThrowableException) ex = ex.getCause();
        m.put("result", r);
        if (ex != null) { Map<String, Object> e = new LinkedHashMap<>(); e.put("class", ex.getClass().getName()); String msg = String.valueOf(ex.getMessage()); e.put("message", msg.length() > 180 ? msg.substring(0, 180) : msg); if (ex instanceof RpcException) e.put("rpcCode", ((RpcException) ex).getCode()); m.put("exception", e); } else m.put("exception", null);
        boolean ok;
        try { ok = s.wantEx == null ? ex == null && s.want.test(r) : ex != null && s.wantEx.isInstance(ex) && (s.wantExMsg == null || String.valueOf(ex.getMessage()).contains(s.wantExMsg)); } catch (Throwable e) { ok = false; }
        m.put("ok", ok);
        if (!ok) { bad++; if (ex != null) { System.err.println("NOT OK " + method); ex.printStackTrace(); } else System.err.println("NOT OK " + method + " got " + Json.of(r)); }
        OUT.println(Json.of(m));
    }
    static void call(Object proxy, Spec s, String method, Class<?>[] types, Object... args) throws Exception {
        Method mm = Class.forName(s.itf).getMethod(method, types);
        run(s, method, types, args, () -> mm.invoke(proxy, args));
    }
    static Spec eq(Object want) { Spec s = new Spec(); String w = Json.of(want); s.want = r -> w.equals(Json.of(r)); return s; }
    static Class<?>[] t(Class<?>... c) { return c; }

    static Person person(String n, int i) {
        Person p = new Person(); p.setName(n); p.setAge(30 + i); p.setId(9_000_000_000L + i); p.setScore(1.5 * i); p.setActive(i % 2 == 0); p.setColor(Color.values()[i % 3]);
        p.setBalance(new BigDecimal("12345678901234567890.12" + i)); p.setBorn(new Date(946684800123L + i)); p.setPhoto(new byte[]{1, 2, 3, (byte) (200 + i)});
        p.setTags(new ArrayList<>(Arrays.asList("a" + i, "标签", "😀"))); Map<String, Object> e = new LinkedHashMap<>(); e.put("k", i); e.put("n", null); p.setExtra(e);
        return p;
    }
    static String big() { StringBuilder b = new StringBuilder(); for (int i = 0; b.length() < 45_000; i++) b.append("大字符串").append((char) 0xD83D).append((char) (0xDE00 + i % 64)).append("abcé"); return b.toString(); }

    public static void main(String[] a) throws Exception {
        Lab.quiet();
        DubboBootstrap.getInstance().application(Lab.app("lab-consumer")).registry(Lab.noRegistry());
        ReferenceConfig<DemoService> r1 = ref(DemoService.class.getName(), null, null);
        r1.setMethods(new ArrayList<>(Arrays.asList(method("oneway", m -> m.setReturn(false)), method("slow", m -> m.setTimeout(300)))));
        ReferenceConfig<DemoService> r2 = ref(DemoService.class.getName(), Lab.GROUP, Lab.VERSION);
        ReferenceConfig<GenericService> rg = ref(DemoService.class.getName(), null, null);
        rg.setGeneric("true");
        ReferenceConfig<CallbackService> rc = null;
        if (Lab.CALLBACK) { rc = ref(CallbackService.class.getName(), null, null); rc.setUrl(url("&methods=subscribe&subscribe.1.callback=true&subscribe.subscribe=1")); /* direct URL: the flag a registry would have merged from the provider; subscribe.subscribe: works round URLParam.hasMethodParameter of 3.x */ }
        DemoService d = r1.get();
        System.err.println("CONSUMER-UP startMs=" + (System.currentTimeMillis() - Lab.T0));

        Spec s;
        call(d, eq("hello"), "echo", t(String.class), "hello");
        call(d, eq("中文 é 😀"), "echo", t(String.class), "中文 é 😀");
        call(d, eq(""), "echo", t(String.class), "");
        call(d, eq(-5), "addInt", t(int.class, int.class), Integer.MIN_VALUE + 5, Integer.MAX_VALUE - 9);
        call(d, eq(9007199254740993L), "addLong", t(long.class, long.class), 9007199254740992L, 1L);
        call(d, eq(0.1 + 1e300), "addDouble", t(double.class, double.class), 0.1, 1e300);
        call(d, eq(true), "not", t(boolean.class), false);
        call(d, eq("true,-1,-300,字,70000,-5000000000,1.5,-2.25,null,z"), "mixed", t(boolean.class, byte.class, short.class, char.class, int.class, long.class, float.class, double.class, Integer.class, String.class), true, (byte) -1, (short) -300, '字', 70000, -5000000000L, 1.5f, -2.25d, null, "z");
        List<Person> ps = new ArrayList<>(Arrays.asList(person("甲", 0), person("Bob", 1), person("Eve", 2)));
        ps.get(0).setFriend(ps.get(1));
        call(d, eq(ps), "persons", t(List.class), ps);
        call(d, eq(person("single", 1)), "person", t(Person.class), person("single", 1));
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("s", "str"); m.put("i", 42); m.put("l", 1L << 40); m.put("d", 3.25); m.put("b", true); m.put("null", null); m.put("list", new ArrayList<>(Arrays.asList("x", 1, 2L)));
        Map<String, Object> inner = new LinkedHashMap<>(); inner.put("深", "层"); m.put("map", inner); m.put("person", person("inmap", 2)); m.put("enum", Color.BLUE); m.put("dec", new BigDecimal("1.10")); m.put("date", new Date(1700000000000L));
        s = eq(m); if ("fastjson2".equals(Lab.SERIALIZATION)) s.want = r -> ((Map<?, ?>) r).keySet().equals(m.keySet()); // fastjson2 may narrow/convert values
        call(d, s, "echoMap", t(Map.class), m);
        Node root = new Node("root").add(new Node("kid1")).add(new Node("孩子2"));
        call(d, eq(root), "cycle", t(Node.class), root);
        byte[] by = new byte[70_000]; new Random(7).nextBytes(by);
        call(d, eq(new byte[0]), "echoBytes", t(byte[].class), new byte[0]);
        call(d, eq(by), "echoBytes", t(byte[].class), by);
        call(d, eq(new Date(1234567890123L)), "echoDate", t(Date.class), new Date(1234567890123L));
        call(d, eq(Color.GREEN), "echoEnum", t(Color.class), Color.GREEN);
        call(d, eq(new BigDecimal("-98765432109876543210.000100")), "echoDecimal", t(BigDecimal.class), new BigDecimal("-98765432109876543210.000100"));
        call(d, eq(null), "echoNullable", t(String.class), (Object) null);
        String big = big();
        call(d, eq(big), "bigString", t(String.class), big);
        call(d, eq(6), "sum", t(int[].class), new int[]{1, 2, 3});
        call(d, eq(0), "sum", t(int[].class), new int[0]);
        call(d, eq(new String[]{"a", null, "丙"}), "echoArray", t(String[].class), (Object) new String[]{"a", null, "丙"});
        call(d, eq(new Person[]{person("arr", 0)}), "personArray", t(Person[].class), (Object) new Person[]{person("arr", 0)});
        call(d, eq(null), "voidCall", t(String.class), "v");
        s = new Spec(); s.wantEx = BizException.class; s.wantExMsg = "business rule broken: 例外"; call(d, s, "checked", t(String.class), "例外");
        s = new Spec(); s.wantEx = IllegalStateException.class; s.wantExMsg = "runtime trouble: x"; call(d, s, "runtime", t(String.class), "x");
        s = new Spec(); s.kind = "timeout"; s.wantEx = RpcException.class; s.lateResponse = true; call(d, s, "slow", t(long.class), 900L);
        s = new Spec(); s.kind = "oneway"; s.twoWay = "tri".equals(Lab.PROTOCOL); /* triple has no one-way: a plain unary call */ call(d, s, "oneway", t(String.class), "fire and forget");
        s = eq("async:a1"); s.kind = "async"; run(s, "async", t(String.class), new Object[]{"a1"}, () -> d.async("a1").get(5, TimeUnit.SECONDS));
        call(d, eq("Sx"), "overloaded", t(String.class), "x");
        call(d, eq("I7"), "overloaded", t(int.class), 7);
        s = eq(new TreeMap<>(Map.of("traceparent", TP, "x-lab", ATT))); s.kind = "attachments"; s.att.put("traceparent", TP); s.att.put("x-lab", ATT);
        call(d, s, "seenAttachments", t(List.class), new ArrayList<>(Arrays.asList("traceparent", "x-lab")));
        // concurrent: responses out of order on one connection
        s = eq(List.of("async:c0", "async:c1", "async:c2")); s.kind = "concurrent3"; run(s, "async", t(String.class), new Object[]{"c0..c2"}, () -> { List<CompletableFuture<String>> l = new ArrayList<>(); for (int i = 0; i < 3; i++) l.add(d.async("c" + i)); List<String> o = new ArrayList<>(); for (CompletableFuture<String> f : l) o.add(f.get(5, TimeUnit.SECONDS)); return o; });
        // group + version
        DemoService d2 = r2.get();
        s = eq(Lab.GROUP + ":grouped"); s.group = Lab.GROUP; s.version = Lab.VERSION; s.kind = "group+version"; call(d2, s, "echo", t(String.class), "grouped");
        // echo test service ($echo)
        if (Boolean.parseBoolean(Lab.p("lab.echo", "true"))) { s = eq("OK"); s.kind = "$echo"; s.wireMethod = "$echo"; s.wireTypes = t(Object.class); run(s, "$echo", t(Object.class), new Object[]{"OK"}, () -> ((EchoService) d).$echo("OK")); }
        // generic
        GenericService g = rg.get();
        Class<?>[] gt = t(String.class, String[].class, Object[].class);
        s = eq("generic!"); s.kind = "generic"; s.wireMethod = "$invoke"; s.wireTypes = gt; run(s, "echo", t(String.class), new Object[]{"generic!"}, () -> g.$invoke("echo", new String[]{"java.lang.String"}, new Object[]{"generic!"}));
        Map<String, Object> pm = new LinkedHashMap<>(); pm.put("class", "lab.api.Person"); pm.put("name", "泛化"); pm.put("age", 5); pm.put("color", "BLUE");
        s = new Spec(); s.want = r -> "泛化".equals(((Map<?, ?>) r).get("name")); s.kind = "generic"; s.wireMethod = "$invoke"; s.wireTypes = gt; run(s, "person", t(Person.class), new Object[]{pm}, () -> g.$invoke("person", new String[]{"lab.api.Person"}, new Object[]{pm}));
        s = new Spec(); s.wantEx = Throwable.class; s.kind = "generic-nosuchmethod"; s.wireMethod = "$invoke"; s.wireTypes = gt; run(s, "nope", t(), new Object[]{}, () -> g.$invoke("nope", new String[]{}, new Object[]{}));
        s = new Spec(); s.wantEx = RuntimeException.class; s.wantExMsg = "lab.api.BizException: business rule broken: g"; s.kind = "generic-exception"; s.wireMethod = "$invoke"; s.wireTypes = gt; run(s, "checked", t(String.class), new Object[]{"g"}, () -> g.$invoke("checked", new String[]{"java.lang.String"}, new Object[]{"g"}));
        // service not exported: error status on the wire
        ReferenceConfig<DemoService> r3 = ref(DemoService.class.getName(), "nogroup", "9.9.9");
        s = new Spec(); s.wantEx = Throwable.class; s.kind = "group-mismatch"; if ("tri".equals(Lab.PROTOCOL)) { s.wantEx = null; s.kind = "group-mismatch-falls-back"; } s.group = "nogroup"; s.version = "9.9.9";
        try { DemoService d3 = r3.get(); call(d3, s, "echo", t(String.class), "x"); } catch (Throwable e) { System.err.println("r3: " + e); bad++; }
        ReferenceConfig<NotExported> r4 = ref(NotExported.class.getName(), null, null);
        s = new Spec(); s.wantEx = Throwable.class; s.kind = "service-not-found"; s.itf = NotExported.class.getName(); NotExported ne = r4.get(); call(ne, s, "nothing", t(String.class), "x");
        if (rc != null) {
            CallbackService cb = rc.get(); CountDownLatch l = new CountDownLatch(2); List<String> got = Collections.synchronizedList(new ArrayList<>());
            s = eq(List.of("key#1", "key#2")); s.kind = "callback"; s.itf = CallbackService.class.getName(); Listener li = new Listener() { public void onEvent(String x) { got.add(x); l.countDown(); } };
            run(s, "subscribe", t(String.class, Listener.class), new Object[]{"key", "<listener>"}, () -> { cb.subscribe("key", li); l.await(5, TimeUnit.SECONDS); return new ArrayList<>(got); });
        }
        Thread.sleep(Math.max(Long.getLong("lab.lingerMs", 1200L), Lab.HEARTBEAT * 5L / 2));  // idle: heartbeats, and the late response of slow()
        System.err.println("DONE calls=" + seq + " notOk=" + bad);
        OUT.flush();
        System.exit(bad == 0 ? 0 : 1);
    }
}
