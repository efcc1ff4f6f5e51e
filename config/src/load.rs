//! The whole configuration, and how it is read from a file.

use crate::{Capture, ConfigError, Decoding, Flows, Interception, OnFailure, Records, Relay, Sink};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that can be set, for all of Weir's programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of the application when Weir itself fails.
    pub on_failure: OnFailure,
    /// What is redirected.
    pub interception: Interception,
    /// How connections are carried.
    pub relay: Relay,
    /// What is decoded.
    pub decoding: Decoding,
    /// What is kept of the traffic itself.
    pub capture: Capture,
    /// What is told of connections as a whole.
    pub flows: Flows,
    /// What a document may hold.
    pub records: Records,
    /// Where documents go; nowhere if empty.
    pub sinks: Vec<Sink>,
}

/// Reads the file, or gives the defaults where none is named. The result is not yet validated: flags come on top.
///
/// # Errors
/// [`ConfigError::Read`] and [`ConfigError::Parse`].
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })?;
    parse(&text).map_err(|message| ConfigError::Parse {
        path: path.into(),
        message,
    })
}

/// Reads a configuration's YAML; not yet validated.
///
/// # Errors
/// What is wrong, with its place.
pub fn parse(text: &str) -> Result<Config, String> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Config::default());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

impl Config {
    /// Checks what no single value can tell. Call it once every source has been applied.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first setting that is wrong.
    pub fn validated(mut self) -> Result<Self, ConfigError> {
        self.interception.settle()?;
        self.interception.validate()?;
        self.relay.validate()?;
        self.decoding.validate()?;
        self.capture.validate()?;
        self.flows.validate()?;
        self.records.validate()?;
        for sink in &mut self.sinks {
            sink.validate()?;
        }
        let own = [
            self.relay.admin_port,
            self.relay.health_port,
            self.relay.metrics_port,
        ];
        let mut listeners = vec![
            self.interception.inbound_port,
            self.interception.outbound_port,
            self.interception.dns_port,
        ];
        listeners.extend(self.interception.dns_listeners().map(|(port, _)| port));
        listeners.extend(
            self.interception
                .port_map
                .0
                .iter()
                .flat_map(|pair| [pair.original, pair.mapped]),
        );
        if let Some(port) = own.iter().find(|port| listeners.contains(port)) {
            return Err(ConfigError::invalid(
                "relay.admin_port",
                format!(
                    "port {port} is already a listener of the interception section; admin, health and metrics need ports of their own"
                ),
            ));
        }
        Ok(self)
    }

    /// The configuration as a YAML file that would give it, secrets aside.
    ///
    /// # Errors
    /// Never seen; the serializer's own.
    pub fn to_yaml(&self) -> Result<String, String> {
        serde_saphyr::to_string(self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Ports, Sqlite};

    #[test]
    fn the_printed_configuration_reads_back_as_itself() {
        let mut config = Config::default();
        config.interception.exclude_inbound_ports = Ports::List(vec![22, 9000]);
        config.decoding.protocols = "80:http,9000-9010:tcp".parse().unwrap();
        config.records.redact_names = vec!["*_PIN".parse().unwrap()];
        config.records.spare_names = vec!["x-build-token".parse().unwrap()];
        config.sinks = vec![Sink::Sqlite(Sqlite {
            path: "/var/lib/weir.db".into(),
            layout: Layout::Ecs,
            max_bytes: crate::Bytes::mib(1),
            max_age: crate::Period::seconds(60),
        })];
        let yaml = config.to_yaml().unwrap();
        assert_eq!(parse(&yaml), Ok(config), "{yaml}");
    }

    #[test]
    fn lists_may_be_text_or_sequences() {
        let yaml = "interception:\n  include_inbound_ports: [80, 443]\n  exclude_outbound_ports: 22\n  include_outbound_cidrs: '*'\n";
        let config = parse(yaml).unwrap();
        assert_eq!(
            config.interception.include_inbound_ports,
            Ports::List(vec![80, 443])
        );
        assert_eq!(config.interception.exclude_outbound_ports, Ports::List(vec![22]));
        assert_eq!(parse("# nothing\n\n"), Ok(Config::default()));
        for pins in [
            "{20880: dubbo, 9000-9010: http1}",
            "'20880:dubbo,9000-9010:http1'",
            "[20880:dubbo, '9000-9010:http1']",
        ] {
            let config = parse(&format!("decoding:\n  protocols: {pins}\n")).unwrap();
            assert_eq!(
                config.decoding.protocols.to_string(),
                "9000-9010:http1,20880:dubbo"
            );
        }
    }

    #[test]
    fn errors_name_line_column_key_and_what_is_allowed() {
        let unknown = parse("relay:\n  threads: 2\n  connect_timeot: 5s\n").unwrap_err();
        assert!(
            unknown.contains("line 3")
                && unknown.contains("connect_timeot")
                && unknown.contains("connect_timeout"),
            "{unknown}"
        );
        let wrong = parse("relay:\n  drain: soon\n").unwrap_err();
        assert!(
            wrong.contains("line 2") && wrong.contains("drain") && wrong.contains("500ms"),
            "{wrong}"
        );
        let port = parse("interception:\n  exclude_inbound_ports: [80, 70000]\n").unwrap_err();
        assert!(
            port.contains("line 2") && port.contains("exclude_inbound_ports") && port.contains("1 to 65535"),
            "{port}"
        );
        let pin = parse("decoding:\n  protocols: {0: dubbo}\n").unwrap_err();
        assert!(
            pin.contains("line 2") && pin.contains("protocols") && pin.contains("1 to 65535"),
            "{pin}"
        );
        let pin = parse("decoding:\n  protocols:\n    80: smtp\n").unwrap_err();
        assert!(
            pin.contains("protocols") && pin.contains("smtp") && pin.contains("http1, http, http2"),
            "{pin}"
        );
        let section = parse("interseption: {}\n").unwrap_err();
        assert!(
            section.contains("line 1")
                && section.contains("interseption")
                && section.contains("interception"),
            "{section}"
        );
        let types = parse("capture:\n  bodies:\n    content_types: [text/*, json]\n").unwrap_err();
        assert!(
            types.contains("line 3") && types.contains("`json`") && types.contains("application/json"),
            "{types}"
        );
        let name = parse("records:\n  redact_names: [iban, 'a b']\n").unwrap_err();
        assert!(
            name.contains("line 2") && name.contains("`a b`") && name.contains("x-customer"),
            "{name}"
        );
        let kind = parse("sinks:\n  - kafka: {path: x}\n").unwrap_err();
        assert!(
            kind.contains("line 2") && kind.contains("kafka") && kind.contains("ndjson"),
            "{kind}"
        );
    }

    #[test]
    fn a_layout_is_a_setting_of_a_sink() {
        let sinks = "sinks:\n  - ndjson: {path: a, layout: pipy}\n  - elasticsearch: {url: 'http://a', layout: pipy}\n";
        let config = parse(sinks).unwrap().validated().unwrap();
        let [Sink::Ndjson(file), Sink::Elasticsearch(server)] = &config.sinks[..] else {
            panic!("{config:?}")
        };
        assert_eq!((file.layout, server.layout), (Layout::Pipy, Layout::Pipy));
        assert_eq!(parse(&config.to_yaml().unwrap()), Ok(config));
        let unknown = parse("sinks:\n  - ndjson: {path: a, layout: kibana}\n").unwrap_err();
        assert!(
            unknown.contains("line 2") && unknown.contains("kibana") && unknown.contains("pipy"),
            "{unknown}"
        );
        let store = parse("sinks:\n  - sqlite: {path: a, layout: pipy}\n").unwrap();
        let error = store.validated().unwrap_err().to_string();
        assert!(
            error.contains("sinks.sqlite.layout") && error.contains("ndjson"),
            "{error}"
        );
    }

    #[test]
    fn points_are_a_setting_of_a_sink() {
        let sinks =
            "sinks:\n  - lines: {path: a, points: {interval: 5s}}\n  - datakit: {url: 'http://me:pass@a'}\n";
        let config = parse(sinks).unwrap().validated().unwrap();
        let [Sink::Lines(file), Sink::Datakit(server)] = &config.sinks[..] else {
            panic!("{config:?}")
        };
        assert_eq!((file.layout, server.layout), (Layout::Datakit, Layout::Datakit));
        assert_eq!(file.points.interval, "5s".parse().unwrap());
        assert_eq!(file.points.dns_interval, "30s".parse().unwrap());
        assert_eq!(server.points.interval, "60s".parse().unwrap());
        assert_eq!(
            (&*server.url, server.username.as_deref()),
            ("http://a", Some("me"))
        );
        let yaml = config.to_yaml().unwrap();
        assert!(!yaml.contains("pass@") && !yaml.contains(": pass"), "{yaml}");
    }

    #[test]
    fn contradictions_are_found() {
        let wrong = |edit: fn(&mut Config)| {
            let mut config = Config::default();
            edit(&mut config);
            config.validated().unwrap_err().to_string()
        };
        assert!(
            wrong(|c| {
                c.interception.include_inbound_ports = Ports::List(vec![80]);
                c.interception.exclude_inbound_ports = Ports::List(vec![80]);
            })
            .contains("port 80")
        );
        assert!(
            wrong(|c| {
                c.interception.include_outbound_cidrs = "10.1.0.0/16".parse().unwrap();
                c.interception.exclude_outbound_cidrs = "10.0.0.0/8".parse().unwrap();
            })
            .contains("10.0.0.0/8 covers 10.1.0.0/16")
        );
        assert!(wrong(|c| c.relay.admin_port = 15006).contains("15006"));
        assert!(
            wrong(|c| {
                c.interception.dns_port = 15019;
                c.interception.dns_servers = "10.0.0.1,10.0.0.2".parse().unwrap();
            })
            .contains("15020")
        );
        assert!(
            wrong(|c| {
                c.interception.dns_port = 65535;
                c.interception.dns_servers = "10.0.0.1,10.0.0.2".parse().unwrap();
            })
            .contains("at most 65535")
        );
        assert!(wrong(|c| c.interception.proxy_uid = 0).contains("proxy_uid"));
        let bodies = wrong(|c| c.capture.bodies.max_bytes = crate::Bytes::mib(2));
        assert!(
            bodies.contains("capture.bodies.max_bytes") && bodies.contains("1MiB"),
            "{bodies}"
        );
        let names = wrong(|c| c.records.spare_names = vec!["a".parse().unwrap(); 257]);
        assert!(
            names.contains("records.spare_names") && names.contains("256"),
            "{names}"
        );
        assert!(wrong(|c| c.capture.ring = crate::Bytes(4096)).contains("capture.ring"));
        assert!(wrong(|c| c.capture.snaplen = crate::Bytes(60)).contains("capture.snaplen"));
        assert!(wrong(|c| c.flows.interval = "10ms".parse().unwrap()).contains("flows.interval"));
    }
}
