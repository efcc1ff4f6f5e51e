//! Connections from before, other settings, removal.

use crate::pod::{Kept, PORT, Pod, User, Way};
use weir_tests::stage::Direction;

pub fn other_settings_and_removal(way: Way) {
    let mut pod = Pod::new(way);
    let before = pod.state();
    let mut kept = pod.open();
    let mut go_on = || kept.iter_mut().for_each(Kept::ask);
    pod.install(&[]);
    go_on();
    pod.start_sidecar(User::Root, &[]);
    go_on();
    assert_eq!(inbound(&pod), 0, "what was open goes on by itself");

    let mut relayed = pod.open();
    assert_eq!(inbound(&pod), 2);
    let again = pod.install(&[]);
    assert!(again.contains("nothing to do"), "{again}");
    let excluded = PORT.to_string();
    pod.install(&["--exclude-inbound-ports", &excluded]);
    pod.check(&["--exclude-inbound-ports", &excluded]);
    for (client, app) in pod.pairs() {
        assert_eq!(pod.client_asks(app), client);
    }
    assert_eq!(inbound(&pod), 2, "it is left alone now");
    pod.install(&[]);
    for (client, app) in pod.pairs() {
        pod.assert_seen(pod.client_asks(app), client);
    }
    assert_eq!(inbound(&pod), 4);
    go_on();
    relayed.iter_mut().for_each(Kept::ask);

    // Nothing new from now on; what is open stays.
    let said = pod.init(&["remove", "--drain", "0s"]);
    assert!(said.contains("run `weir-init remove` again"), "{said}");
    for (client, app) in pod.pairs() {
        assert_eq!(pod.client_asks(app), client);
        assert_eq!(pod.app_asks(client), app);
    }
    assert_eq!(inbound(&pod), 4);
    go_on();
    relayed.iter_mut().for_each(Kept::ask);
    drop(relayed);
    let said = pod.init(&["remove"]);
    assert!(said.contains("removed"), "{said}");
    go_on();
    pod.sidecar = None;
    go_on();
    assert_eq!(pod.state(), before);
}

fn inbound(pod: &Pod) -> u64 {
    pod.sidecar().connections(Direction::Inbound)
}
