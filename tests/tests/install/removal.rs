//! What is left behind: nothing.

use crate::support::{ALL, Pod, Variant, assert_same};
use weir_lab::skip_unless_root;

const FOREIGN: &str = "\
*nat
:DOCKER - [0:0]
:UNUSED - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -o eth9 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8443 -j REDIRECT --to-ports 443
-A UNUSED -m comment --comment \"goes to WEIR_OUTPUT? no\" -j RETURN
COMMIT
*filter
:GUARD - [0:0]
-A INPUT -j GUARD
-A GUARD -p tcp -m tcp --dport 23 -j DROP
COMMIT
*mangle
-A PREROUTING -p tcp -m tcp --dport 24 -j MARK --set-xmark 0x7/0xffffffff
COMMIT
";

#[test]
fn install_twice_remove_once_leaves_an_empty_namespace_as_it_was() {
    if skip_unless_root("install_twice_remove_once_leaves_an_empty_namespace_as_it_was") {
        return;
    }
    for setup in ALL {
        for settings in [
            "",
            "--dns --exclude-inbound-ports 22 --include-outbound-cidrs 10.0.0.0/8,fd00::/8",
        ] {
            let pod = Pod::with("empty", setup);
            let before = pod.state();
            pod.weir_init(&format!("install {settings}")).succeeded();
            let installed = pod.state();
            assert!(
                installed.contains("WEIR_OUTPUT") && installed.contains("local 192.0.0.64/26"),
                "{installed}"
            );
            assert!(installed.contains("local 100::/120"), "{installed}");
            let again = pod.weir_init(&format!("install {settings}")).succeeded();
            assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
            assert_same(&pod.state(), &installed);
            pod.weir_init("remove").succeeded();
            assert_same(&pod.state(), &before);
        }
    }
}

#[test]
fn other_peoples_rules_and_routes_stay_as_they_were() {
    if skip_unless_root("other_peoples_rules_and_routes_stay_as_they_were") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("foreign", setup);
        pod.foreign(FOREIGN);
        pod.sh("ip rule add fwmark 7 lookup 77; ip -6 rule add fwmark 7 lookup 77");
        pod.sh("ip route add local 198.19.7.0/24 dev lo table 77; ip route add local 192.0.0.64/27 dev lo");
        let before = pod.state();
        pod.weir_init("install --dns").succeeded();
        pod.weir_init("install").succeeded();
        pod.weir_init("remove").succeeded();
        assert_same(&pod.state(), &before);
    }
}

#[test]
fn what_others_added_since_stays_and_keeps_its_table() {
    if skip_unless_root("what_others_added_since_stays_and_keeps_its_table") {
        return;
    }
    let late = "*nat\n:LATE - [0:0]\n-A OUTPUT -p tcp -m tcp --dport 7 -j LATE\n-A LATE -j RETURN\nCOMMIT\n";
    for setup in ALL {
        let pod = Pod::with("late", setup);
        pod.weir_init("install").succeeded();
        pod.foreign(late);
        pod.weir_init("remove").succeeded();
        let left = pod.state();
        assert_eq!(
            left.matches("-A OUTPUT -p tcp -m tcp --dport 7 -j LATE").count(),
            2,
            "{left}"
        );
        assert_eq!(left.matches("-A LATE -j RETURN").count(), 2, "{left}");
        assert!(!left.contains("WEIR_"), "{left}");
    }
}

#[test]
fn a_route_of_somebody_elses_for_the_spare_block_stays() {
    if skip_unless_root("a_route_of_somebody_elses_for_the_spare_block_stays") {
        return;
    }
    let pod = Pod::new("spare", Variant::Nft);
    pod.sh("ip route add local 192.0.0.64/26 dev lo; ip -6 route add local 100::/120 dev lo");
    let before = pod.state();
    pod.weir_init("install").succeeded();
    pod.weir_init("remove").succeeded();
    assert_same(&pod.state(), &before);
}

#[test]
fn removing_where_nothing_is_installed_changes_nothing_and_says_so() {
    if skip_unless_root("removing_where_nothing_is_installed_changes_nothing_and_says_so") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("none", setup);
        let before = pod.state();
        let run = pod.weir_init("remove").succeeded();
        assert!(run.stderr.contains("nothing was installed"), "{}", run.stderr);
        assert_same(&pod.state(), &before);
    }
}

#[test]
fn a_dry_removal_shows_and_touches_nothing() {
    if skip_unless_root("a_dry_removal_shows_and_touches_nothing") {
        return;
    }
    let pod = Pod::new("dry", Variant::Nft);
    pod.weir_init("install").succeeded();
    let before = pod.state();
    let shown = pod.weir_init("remove --dry-run").succeeded().stdout;
    assert!(
        shown.contains("-D OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j WEIR_OUTPUT")
            && shown.contains("-X WEIR_OUTPUT"),
        "{shown}"
    );
    assert!(shown.contains("ip route del local 192.0.0.64/26"), "{shown}");
    assert_same(&pod.state(), &before);
}

#[test]
fn ipv6_that_is_switched_off_by_sysctl_needs_no_route() {
    if skip_unless_root("ipv6_that_is_switched_off_by_sysctl_needs_no_route") {
        return;
    }
    for mode in ["redirect", "tproxy"] {
        let pod = Pod::with("v6off", (Variant::Nft, mode));
        pod.pod.sysctl("ipv6/conf/all/disable_ipv6", "1").unwrap();
        let before = pod.state();
        pod.weir_init("install").succeeded();
        let again = pod.weir_init("install").succeeded();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        assert!(
            pod.rules().matches("WEIR_OUTPUT").count() > 2,
            "both families have rules"
        );
        pod.weir_init("check").succeeded();
        pod.weir_init("remove").succeeded();
        assert_same(&pod.state(), &before);
    }
}
