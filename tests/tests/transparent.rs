//! What the modes promise that leave a connection's addresses as they are: the application sees its client, and the
//! sidecar has no more than the one capability that this takes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "transparent/changes.rs"]
mod changes;
#[path = "transparent/privileges.rs"]
mod privileges;
#[path = "transparent/support.rs"]
mod support;
#[path = "transparent/traffic.rs"]
mod traffic;

use changes::*;
use privileges::*;
use traffic::*;
use weir_tests::stage::{Direction, Family, Mode, Stage, Weight, play};

/// Runs each case over both families. The cases of `with` find Weir running in the mode; those of `without` install it
/// themselves.
macro_rules! promises {
    ($mode:ident: with { $($weight:ident $direction:ident $case:ident;)* } without { $($bare:ident;)* }) => {
        $(mod $case {
            use super::*;
            promises!(@ v4 V4 $weight $direction $case $mode |stage, _| super::super::$case(stage));
            promises!(@ v6 V6 $weight $direction $case $mode |stage, _| super::super::$case(stage));
        })*
        $(mod $bare {
            use super::*;
            promises!(@ v4 V4 Light Inbound $bare Direct |stage, _| super::super::$bare(stage, Mode::$mode));
            promises!(@ v6 V6 Light Inbound $bare Direct |stage, _| super::super::$bare(stage, Mode::$mode));
        })*
    };
    (@ $name:ident $family:ident $weight:ident $direction:ident $case:ident $mode:ident $run:expr) => {
        #[test]
        fn $name() {
            let run: fn(&Stage, ()) = $run;
            play(
                stringify!($case),
                Weight::$weight,
                (Mode::$mode, Direction::$direction, Family::$family),
                |stage| run(stage, ()),
            );
        }
    };
}

/// All of them in one mode.
macro_rules! mode {
    ($module:ident $mode:ident) => {
        mod $module {
            use super::*;
            promises! { $mode:
                with {
                    Light Inbound application_sees_its_clients_address;
                    Light Outbound server_outside_sees_the_pods_address;
                    Light Inbound strict_and_loose_reverse_path_filters_do_no_harm;
                    Light Inbound syn_cookies_do_no_harm;
                    Light Inbound documents_carry_the_mode;
                    Light Inbound port_that_clients_use_themselves_harms_nobody;
                    Light Inbound port_of_a_client_does_not_hide_its_address;
                    Heavy Inbound no_short_connection_of_a_client_fails_when_servers_close_first;
                }
                without {
                    sidecar_keeps_net_raw_and_nothing_else;
                    no_capability_is_left_where_the_address_is_not_kept;
                    file_capability_is_enough;
                    user_0_is_enough_with_the_group_and_net_raw;
                    missing_net_raw_is_told_and_outbound_connections_work;
                    mode_is_learned_from_a_later_installation;
                    own_call_of_the_sidecar_reaches_the_application_once;
                    dial_that_gets_no_answer_is_made_from_a_spare_address;
                    connection_without_a_port_for_its_client_is_made_from_a_spare_address;
                    connections_from_before_go_on;
                    address_is_kept_where_binding_is_free;
                    full_queue_of_the_application_is_not_met_by_a_second_dial;
                    outbound_connection_keeps_the_address_that_the_application_chose;
                    listeners_ports_of_other_machines_are_reached_and_its_own_are_not;
                    removal_leaves_nothing;
                }
            }
        }
    };
}

mode! { tproxy Tproxy }
mode! { ebpf Ebpf }

mod redirect {
    use super::*;
    promises! { Redirected: with {} without {
        outbound_connection_keeps_the_address_that_the_application_chose;
        listeners_ports_of_other_machines_are_reached_and_its_own_are_not;
    } }
}

/// Between modes that translate addresses alike; a change from or to mode ebpf may still break a connection that is just
/// being opened.
mod between_modes_of_iptables {
    use super::*;
    promises! { Tproxy: with {} without { change_of_mode_under_load_loses_nothing; } }
}
