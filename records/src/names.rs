//! Names of addresses, as the DNS answers that were seen gave them: what the client asked for before it connected.
//!
//! An answer counts for longer than it may be kept, because connections outlive it; the latest one wins. What an address is
//! called is therefore what it was last called, and nothing where no answer was seen.

use crate::Document;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Most addresses that are known at once, in each of the two generations of [`Table`].
const MOST: usize = 8192;

/// Names by address; shared by everybody who sees answers or asks.
#[derive(Debug, Default)]
pub struct Names(Mutex<Table>);

/// The new, and those from before it was last full: what is asked for or learned moves to the new, the rest is forgotten.
#[derive(Debug, Default)]
struct Table {
    new: HashMap<IpAddr, Arc<str>>,
    old: HashMap<IpAddr, Arc<str>>,
}

impl Table {
    fn put(&mut self, address: IpAddr, name: Arc<str>) {
        if self.new.len() >= MOST && !self.new.contains_key(&address) {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(address, name);
    }
}

impl Names {
    /// Takes the addresses of this document, if it is about a DNS answer.
    pub fn learn(&self, document: &Document) {
        let Some(dns) = &document.dns else { return };
        let Some(question) = &dns.question else { return };
        if dns.resolved_ip.is_empty() || question.name.is_empty() {
            return;
        }
        let name: Arc<str> = question.name.to_ascii_lowercase().into();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for address in &dns.resolved_ip {
            table.put(address.to_canonical(), name.clone());
        }
    }

    /// The name by which this address was last found.
    pub fn of(&self, address: IpAddr) -> Option<Arc<str>> {
        let address = address.to_canonical();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = table.new.get(&address) {
            return Some(name.clone());
        }
        let name = table.old.remove(&address)?;
        table.put(address, name.clone());
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capture, Direction, Dns, DnsQuestion, DocumentId, Event, Flow, Timestamp};
    use std::net::Ipv4Addr;

    fn answer(name: &str, addresses: Vec<IpAddr>) -> Document {
        let at = "198.18.0.1:53".parse().unwrap();
        let flow = Flow {
            id: DocumentId(1),
            capture: Capture::Tap,
            mode: None,
            direction: Direction::Egress,
            client: at,
            server: at,
            opened: Timestamp(0),
            connect: None,
            host: None,
            wrapping: None,
        };
        let event = Event {
            id: DocumentId(2),
            dataset: "weir.dns",
            category: &["network"],
            kind: &["protocol"],
            outcome: None,
            duration: None,
            start: None,
            end: None,
        };
        let mut document = Document::of(&flow, Timestamp(0), event, "udp", "dns");
        document.dns = Some(Box::new(Dns {
            question: Some(DnsQuestion {
                name: name.into(),
                ..DnsQuestion::default()
            }),
            resolved_ip: addresses,
            ..Dns::default()
        }));
        document
    }

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xc612_0000 + n).into()
    }

    #[test]
    fn the_last_answer_names_an_address() {
        let names = Names::default();
        names.learn(&answer("A.test", vec![address(1), address(2)]));
        names.learn(&answer("b.test", vec![address(2)]));
        names.learn(&answer("nothing.test", Vec::new()));
        assert_eq!(names.of(address(1)).as_deref(), Some("a.test"));
        assert_eq!(names.of(address(2)).as_deref(), Some("b.test"));
        assert_eq!(names.of(address(3)), None);
        assert_eq!(
            names.of("::ffff:198.18.0.1".parse().unwrap()).as_deref(),
            Some("a.test")
        );
    }

    #[test]
    fn what_is_never_asked_for_is_forgotten_first() {
        let names = Names::default();
        for n in 0..3 * MOST as u32 {
            names.learn(&answer("x.test", vec![address(n)]));
            assert!(names.of(address(0)).is_some());
        }
        assert_eq!(names.of(address(1)), None);
        let table = names.0.lock().unwrap();
        assert!(table.new.len() + table.old.len() <= 2 * MOST);
    }
}
