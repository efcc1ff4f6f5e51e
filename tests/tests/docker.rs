//! Beside a real Docker container: Docker's default seccomp profile, its read-only `/proc/sys`, its capabilities and its
//! DNS server. Installer and sidecar are containers of their own in the application's network namespace.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "docker/dns.rs"]
mod dns;
#[path = "docker/engine.rs"]
mod engine;
#[path = "docker/installation.rs"]
mod installation;
#[path = "docker/pod.rs"]
mod pod;
#[path = "docker/privileges.rs"]
mod privileges;
#[path = "docker/published.rs"]
mod published;
#[path = "docker/tap.rs"]
mod tap;
#[path = "docker/traffic.rs"]
mod traffic;

use pod::Way;

/// Each case by each way of installing.
macro_rules! by_every_way {
    ($($module:ident :: $case:ident;)*) => {$(
        mod $case {
            use super::*;

            #[test]
            fn redirect() {
                run("redirect", Way::Redirect);
            }

            #[test]
            fn auto_with_net_admin() {
                run("auto_with_net_admin", Way::AutoWithNetAdmin);
            }

            #[test]
            fn auto_with_sys_admin() {
                run("auto_with_sys_admin", Way::AutoWithSysAdmin);
            }

            fn run(name: &str, way: Way) {
                if !engine::skip(&format!("docker::{}::{name}", stringify!($case))) {
                    $module::$case(way);
                }
            }
        }
    )*};
}

by_every_way! {
    traffic::connections_are_relayed_and_seen;
    traffic::without_ipv6_they_are_too;
    traffic::sidecar_that_is_killed;
    installation::other_settings_and_removal;
    dns::queries_are_answered_and_seen;
}

/// The others.
macro_rules! once {
    ($($module:ident :: $case:ident;)*) => {$(
        #[test]
        fn $case() {
            if !engine::skip(concat!("docker::", stringify!($case))) {
                $module::$case();
            }
        }
    )*};
}

once! {
    tap::a_container_beside_the_application_shows_its_requests;
    tap::without_net_raw_it_says_what_is_missing;
    published::published_port_comes_to_the_sidecar_first;
    privileges::containers_are_confined_as_by_default;
    privileges::auto_works_where_all_capabilities_but_net_admin_are_dropped;
    privileges::sidecar_works_with_the_least_privileges;
    privileges::without_the_right_to_load_programs_their_removal_says_what_to_do;
}
