//! What the consumer of the Java peers says of its calls, a line of JSON for each, and whether documents say the same. Shared
//! by the test of captures and that of the peers themselves.

use serde_json::{Value, json};

/// That these documents tell the calls of the Java consumer, in this serialization, and nothing else but its provider's
/// calls back.
pub fn check(documents: &[Value], expected: &str, serialization: &str) {
    assert_eq!(expected.lines().count(), 42);
    let left = others(documents, expected, serialization);
    // Three of the calls have one line.
    assert_eq!(documents.len() - left.len(), 44);
    assert_eq!(left.len(), 2, "{left:#?}");
    for document in left {
        assert_eq!(document["dubbo"]["callback"], true, "{document:#}");
        assert_eq!(document["event"]["outcome"], "success", "{document:#}");
    }
}

/// That these documents tell these calls of a consumer, in this serialization; gives those that tell others.
pub fn others<'a>(documents: &'a [Value], expected: &str, serialization: &str) -> Vec<&'a Value> {
    let mut waiting: Vec<&Value> = documents.iter().collect();
    waiting.sort_by_key(|document| document["@timestamp"].to_string());
    for line in expected.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let times = if call["kind"] == "concurrent3" { 3 } else { 1 };
        let mut concurrent = Vec::new();
        for _ in 0..times {
            let of_call = |d: &&Value| {
                d["dubbo"]["method"] == call["method"] && d["dubbo"]["interface"] == call["service"]
            };
            let at = waiting
                .iter()
                .position(of_call)
                .unwrap_or_else(|| panic!("no document for {line}"));
            let document = waiting.remove(at);
            assert_eq!(document["dubbo"]["serialization"], serialization);
            if times == 1 {
                compare(document, &call);
            } else {
                let dubbo = &document["dubbo"];
                concurrent.push(format!("{} {}", dubbo["args"], dubbo["result"]));
            }
        }
        // Which of them comes first is nobody's choice.
        concurrent.sort();
        let all = (0..3).map(|number| format!(r#"["c{number}"] "async:c{number}""#));
        assert!(
            concurrent.is_empty() || all.eq(concurrent.iter().cloned()),
            "{concurrent:?}"
        );
    }
    waiting
}

fn compare(document: &Value, call: &Value) {
    let dubbo = &document["dubbo"];
    let twoway = call["wire"]["twoWay"] == true;
    assert_eq!(dubbo["oneway"] == true, !twoway, "{call}");
    assert_eq!(
        dubbo["generic"] == true,
        call["wire"]["method"] == "$invoke",
        "{call}"
    );
    assert_eq!(dubbo["group"], call["group"], "{call}");
    if !call["version"].is_null() {
        assert_eq!(dubbo["service_version"], call["version"], "{call}");
    }
    let types = dubbo.get("parameter_types").cloned().unwrap_or(json!([]));
    assert_eq!(types, call["paramTypes"], "{call}");
    if call["kind"] != "callback" {
        same(&dubbo["args"], &call["args"], document);
    }
    for (key, value) in call["attachments"].as_object().unwrap() {
        assert_eq!(&dubbo["attachments"][key], value, "{call}");
    }
    let failed = !call["exception"].is_null() && call["wire"].get("lateResponse").is_none();
    if !failed {
        let outcome = if twoway { "success" } else { "unknown" };
        assert_eq!(document["event"]["outcome"], outcome, "{document:#}");
        if twoway && call["kind"] != "callback" && call["kind"] != "timeout" {
            same(&dubbo["result"], &call["result"], document);
        }
        return;
    }
    assert_eq!(document["event"]["outcome"], "failure", "{document:#}");
    if call["exception"].get("rpcCode").is_some() {
        // The consumer's own exception for a status that is not OK.
        assert!(dubbo["status"] == 70 || dubbo["status"] == 40, "{document:#}");
        assert_ne!(document["rpc"]["response"]["status_code"], "OK");
        assert!(
            document["error"]["message"].as_str().unwrap().len() > 20,
            "{document:#}"
        );
    } else {
        assert_eq!(
            (&dubbo["status"], &document["rpc"]["response"]["status_code"]),
            (&json!(20), &json!("OK"))
        );
        assert_eq!(
            dubbo["exception"]["class"], call["exception"]["class"],
            "{document:#}"
        );
        assert_eq!(document["error"]["type"], call["exception"]["class"]);
        let message = dubbo["exception"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(call["exception"]["message"].as_str().unwrap()),
            "{document:#}"
        );
    }
}

/// Whether a value is what the consumer says of it.
fn same(seen: &Value, said: &Value, document: &Value) {
    let fail = || -> ! { panic!("{seen:#} is not {said:#} in {document:#}") };
    match said {
        Value::Array(items) => {
            let list = seen.as_array().unwrap_or_else(|| fail());
            assert_eq!(list.len(), items.len(), "{seen:#} {said:#}");
            for (seen, said) in list.iter().zip(items) {
                same(seen, said, document);
            }
        }
        Value::Object(object) => {
            let only = object.iter().next().filter(|_| object.len() == 1);
            match only.map(|(key, value)| (key.as_str(), value)) {
                Some(("@bytes", bytes)) => {
                    assert_eq!(seen["size"], bytes["len"], "{seen:#}");
                    let encoded = seen["@binary"].as_str().unwrap().trim_end_matches('=').len() as u64;
                    assert_eq!(encoded * 3 / 4, bytes["len"].as_u64().unwrap(), "{seen:#}");
                }
                Some(("@string", string)) => {
                    let text = seen.as_str().unwrap_or_else(|| fail());
                    assert_eq!(text.len() as u64, string["utf8Len"].as_u64().unwrap());
                    assert_eq!(
                        text.encode_utf16().count() as u64,
                        string["utf16Len"].as_u64().unwrap()
                    );
                    assert!(text.starts_with(string["head"].as_str().unwrap()));
                }
                Some(("@dateMs", milliseconds)) => {
                    let since = humantime(seen.as_str().unwrap_or_else(|| fail()));
                    assert_eq!(since, milliseconds.as_i64().unwrap(), "{seen}");
                }
                Some(("@decimal", digits)) => {
                    assert_eq!(*seen, json!({"@type": "java.math.BigDecimal", "value": digits}));
                }
                Some(("@enum", name)) => {
                    // Fastjson 2 sends the position where the class is known, and no class.
                    let (class, name) = name.as_str().unwrap().rsplit_once('.').unwrap();
                    let seen = seen["@ref"]
                        .as_str()
                        .map_or(seen, |pointer| document.pointer(pointer).unwrap());
                    let hessian = json!({"@type": class, "name": name});
                    let fastjson = json!({"@type": class, "value": name});
                    assert!(
                        *seen == hessian || *seen == fastjson || seen.is_u64(),
                        "{seen} {name}"
                    );
                }
                Some(("@ref", _)) => {
                    let pointer = seen["@ref"].as_str().unwrap_or_else(|| fail());
                    assert!(
                        document.pointer(pointer).is_some_and(Value::is_object),
                        "{pointer} {document:#}"
                    );
                }
                _ => {
                    let found = match seen["@ref"].as_str() {
                        Some(pointer) => document.pointer(pointer).unwrap_or_else(|| fail()),
                        None => seen,
                    };
                    if let (Some(class), Some(told)) = (object.get("@class"), found.get("@type")) {
                        assert_eq!(told, class);
                    }
                    for (key, said) in object.iter().filter(|(key, _)| *key != "@class") {
                        // Fastjson 2 leaves out what is as it is by default.
                        if found.get(key).is_some() || *said != false && *said != 0 {
                            same(&found[key], said, document);
                        }
                    }
                }
            }
        }
        Value::Number(number) if number.is_f64() => {
            assert_eq!(seen.as_f64(), number.as_f64(), "{seen} {said}");
        }
        _ => assert_eq!(seen, said),
    }
}

/// Milliseconds since 1970 of a date of this century or late in the last.
fn humantime(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = |year: i64| i64::from(year % 4 == 0);
    let before: i64 = (1970..year).map(|year| 365 + leap(year)).sum();
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = before + lengths[..usize::try_from(month - 1).unwrap()].iter().sum::<i64>() + day - 1;
    (((days * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23)
}

/// What is odd about a call of theirs: that it was answered after the time that its caller gave it.
pub fn anomalies(document: &Value) -> Vec<String> {
    let waited = document["event"]["duration"].as_u64().unwrap_or_default() / 1_000_000;
    let timeout = document["dubbo"]["attachments"]["timeout"].as_str();
    timeout
        .filter(|timeout| waited > timeout.parse().unwrap())
        .map(|timeout| {
            format!("answered_after_timeout: after {waited} ms, the call's timeout is {timeout} ms")
        })
        .into_iter()
        .collect()
}
