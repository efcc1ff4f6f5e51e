//! One configuration after another: each replaces the one before, and nothing escapes meanwhile.

use crate::support::{ALL, BOTH, PATIENCE, Pod, Server, Variant, assert_same, listeners, replace};
use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use weir_lab::{Node, skip_unless_root};

const A: &str = "install --exclude-inbound-ports 22,23 --exclude-outbound-ports 24 --dns";
const B: &str = "install --include-inbound-ports 8080 --include-outbound-cidrs 198.18.0.0/15,fd00::/8 --exclude-interfaces eth7";

#[test]
fn another_configuration_replaces_the_old_one_completely() {
    if skip_unless_root("another_configuration_replaces_the_old_one_completely") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("replace", setup);
        let before = pod.state();
        pod.weir_init(B).succeeded();
        let fresh = pod.rules();
        pod.weir_init(A).succeeded();
        assert!(pod.rules().contains("WEIR_ZONE"));
        pod.weir_init(B).succeeded();
        assert_eq!(
            sorted(&pod.rules()),
            sorted(&fresh),
            "no chain of the other one is left"
        );
        pod.weir_init("remove").succeeded();
        assert_same(&pod.state(), &before);
    }
}

fn sorted(rules: &str) -> Vec<&str> {
    // iptables-save lists chains in the order of their creation; a table that was emptied for good may still be listed.
    let mut lines: Vec<_> = rules.lines().filter(|line| !line.starts_with('*')).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_dry_run_shows_exactly_the_rules_that_are_then_in_force() {
    if skip_unless_root("the_dry_run_shows_exactly_the_rules_that_are_then_in_force") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("dryrun", setup);
        let shown = pod.weir_init(&format!("{A} --dry-run")).succeeded().stdout;
        assert!(
            pod.rules().lines().all(|line| line.starts_with('*')),
            "nothing was touched"
        );
        pod.weir_init(A).succeeded();
        let (v4, v6) = shown.split_once("# IPv6").unwrap();
        for (family, shown) in [("iptables", v4), ("ip6tables", v6)] {
            let saved = pod.sh(&format!("{family}{}-save", setup.0.suffix()));
            assert_eq!(by_chain(shown), by_chain(&saved));
        }
    }
}

/// The rules with their tables, those of a chain in their order; iptables-save lists tables and chains in an order of
/// its own.
fn by_chain(text: &str) -> Vec<(&str, String)> {
    let mut table = "";
    let mut rules = Vec::new();
    for line in text.lines() {
        if line.starts_with('*') {
            table = line;
        } else if line.starts_with("-A ") {
            rules.push((table, line.to_owned()));
        } else if line.starts_with("-I ") {
            rules.insert(0, (table, line.replacen("-I", "-A", 1)));
        }
    }
    rules.sort_by_key(|(table, rule)| (*table, rule.split(' ').nth(1).map(str::to_owned)));
    rules
}

#[test]
fn a_tampered_installation_is_mended() {
    if skip_unless_root("a_tampered_installation_is_mended") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("mend", setup);
        pod.weir_init("install").succeeded();
        let right = pod.state();
        let tool = format!("iptables{}", setup.0.suffix());
        pod.sh(&format!(
            "{tool} -t nat -F WEIR_OUTPUT; {tool} -t nat -A OUTPUT -p tcp --syn -j WEIR_OUTPUT"
        ));
        pod.sh("ip route del local 192.0.0.64/26 dev lo table local");
        assert_ne!(pod.state(), right);
        pod.weir_init("install").succeeded();
        assert_same(&pod.state(), &right);
    }
}

#[test]
fn a_jump_keeps_its_place_among_other_peoples() {
    if skip_unless_root("a_jump_keeps_its_place_among_other_peoples") {
        return;
    }
    for variant in BOTH {
        let pod = Pod::new("place", variant);
        pod.weir_init(B).succeeded();
        pod.foreign("*nat\n-A OUTPUT -p tcp -m tcp --dport 7 -j RETURN\nCOMMIT\n");
        pod.weir_init("install").succeeded();
        let saved = pod.sh(&format!("iptables{}-save -t nat", variant.suffix()));
        let (ours, theirs) = (
            saved.find("-j WEIR_OUTPUT").unwrap(),
            saved.find("--dport 7 ").unwrap(),
        );
        assert!(ours < theirs, "{saved}");
    }
}

#[test]
fn installers_at_the_same_time_give_one_installation() {
    if skip_unless_root("installers_at_the_same_time_give_one_installation") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("same-time", setup);
        pod.weir_init("install").succeeded();
        let right = sorted(&pod.rules()).join("\n");
        pod.weir_init("remove").succeeded();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| pod.weir_init("install").succeeded());
            }
        });
        assert_eq!(sorted(&pod.rules()).join("\n"), right);
    }
}

#[test]
fn legacy_is_used_where_somebody_uses_it_and_nft_otherwise() {
    if skip_unless_root("legacy_is_used_where_somebody_uses_it_and_nft_otherwise") {
        return;
    }
    let every = std::env::var("PATH").unwrap();
    let pod = Pod::new("choice", Variant::Nft);
    let empty = pod.state();
    let run = pod.weir_init_with(&every, "install").succeeded();
    assert!(run.stderr.contains("using iptables-nft"), "{}", run.stderr);
    pod.weir_init_with(&every, "remove").succeeded();
    assert_same(&pod.state(), &empty); // no legacy table was instantiated by looking
    pod.weir_init_with(&every, "install").succeeded();
    pod.sh("iptables-legacy -t filter -A INPUT -p tcp --dport 23 -j DROP");
    // What is installed already stays where it is.
    let run = pod.weir_init_with(&every, A).succeeded();
    assert!(run.stderr.contains("using iptables-nft"), "{}", run.stderr);
    pod.weir_init_with(&every, "remove").succeeded();
    let run = pod.weir_init_with(&every, "install").succeeded();
    assert!(run.stderr.contains("using iptables-legacy"), "{}", run.stderr);
    assert!(!pod.rules().contains("WEIR_"), "not in nft as well");
}

#[test]
fn the_other_variant_is_tried_when_one_does_not_work() {
    if skip_unless_root("the_other_variant_is_tried_when_one_does_not_work") {
        return;
    }
    let pod = Pod::new("fallback", Variant::Nft);
    let nft = || pod.sh("nft list ruleset; iptables-nft-save 2>/dev/null");
    let before = nft();
    // The tables before `raw` are applied, for IPv4; then something is missing.
    replace(
        &pod,
        "iptables-nft-restore",
        "[ \"$1\" = --version ] && exec REAL --version\nsed 's/-j CT --zone-orig 1/-j MISSING/' | exec REAL \"$@\"\n",
    );
    let every = format!("{}:{}", pod.path.path().display(), std::env::var("PATH").unwrap());
    let run = pod.weir_init_with(&every, "install --dns").succeeded();
    assert!(run.stderr.contains("using iptables-legacy"), "{}", run.stderr);
    assert!(pod.sh("iptables-legacy-save").contains("WEIR_OUTPUT"));
    assert_eq!(nft(), before, "the failed trial left nothing");
}

/// The modes of `A` and `B`, and how often they change.
const MODES: [([&str; 2], usize); 2] = [(["redirect", "redirect"], 50), (["tproxy", "redirect"], 6)];

/// Connects again and again until told to stop; every connection must be redirected.
fn hammer(node: &Node, addresses: &[SocketAddr], stop: &AtomicBool, count: &AtomicU32) {
    node.enter(|| {
        for address in addresses.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let mut stream = TcpStream::connect_timeout(address, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            if said == "direct" {
                stop.store(true, Ordering::Relaxed);
                panic!(
                    "a connection to {address} escaped after {} redirected ones",
                    count.load(Ordering::Relaxed)
                );
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
}

#[test]
fn no_connection_escapes_while_configurations_change() {
    if skip_unless_root("no_connection_escapes_while_configurations_change") {
        return;
    }
    for (variant, (modes, changes)) in BOTH
        .into_iter()
        .flat_map(|variant| MODES.map(|modes| (variant, modes)))
    {
        let pod = Pod::new("escape", variant);
        let _sidecar = listeners(&pod);
        let (outside, inside) = (pod.link.b.at(8080), pod.link.a.at(8080));
        let at =
            |node: &Node, addresses: [SocketAddr; 2]| addresses.map(|at| Server::new(node, at, "direct"));
        let _direct = (at(&pod.peer, outside), at(&pod.pod, inside));
        let [a, b] = [
            format!("{A} --mode {}", modes[0]),
            format!("{B} --mode {}", modes[1]),
        ];
        pod.weir_init(&a).succeeded();
        let stop = AtomicBool::new(false);
        let counts: [AtomicU32; 2] = Default::default();
        std::thread::scope(|scope| {
            scope.spawn(|| hammer(&pod.pod, &outside, &stop, &counts[0]));
            scope.spawn(|| hammer(&pod.peer, &inside, &stop, &counts[1]));
            for settings in [&b, &a].into_iter().cycle().take(changes) {
                let run = pod.weir_init(settings);
                if !run.ok || stop.load(Ordering::Relaxed) {
                    stop.store(true, Ordering::Relaxed);
                    run.succeeded();
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        let counts = counts.map(AtomicU32::into_inner);
        println!(
            "connections during {changes} changes, iptables{}, {modes:?}: {counts:?}",
            variant.suffix()
        );
        assert!(
            counts.iter().all(|count| *count > 50),
            "too few to mean anything: {counts:?}"
        );
    }
}
