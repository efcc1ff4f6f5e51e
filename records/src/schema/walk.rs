//! From the types' JSON schema to a flat list of fields.

use crate::Document;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text that is compared as a whole.
    Keyword,
    /// Text whose words are looked for as well.
    Text,
    /// Text of which only words are looked for.
    Words,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// An IP address.
    Ip,
    /// A point in time.
    Date,
    /// An object whose keys are data, such as header names.
    Map,
    /// Any JSON value.
    Json,
}

/// One field of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name with dots: `http.response.status_code`.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// It is an array of such values.
    pub repeated: bool,
    /// Every document has it.
    pub required: bool,
    /// What it means.
    pub description: String,
    /// The only values that it takes; empty for any.
    pub values: Vec<String>,
}

/// All fields of a document, by name.
pub fn fields() -> Vec<Field> {
    let schema = SchemaSettings::default()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Document>();
    let root = schema.to_value();
    let mut walk = Walk {
        definitions: object(&root, "$defs").cloned().unwrap_or_default(),
        fields: Vec::new(),
    };
    walk.object("", &root, true, false);
    walk.fields.sort_by(|a, b| a.name.cmp(&b.name));
    walk.fields
}

struct Walk {
    definitions: Map<String, Value>,
    fields: Vec<Field>,
}

impl Walk {
    fn object(&mut self, prefix: &str, schema: &Value, required: bool, repeated: bool) {
        let required_here = |name: &str| {
            schema["required"]
                .as_array()
                .is_some_and(|names| names.iter().any(|it| it == name))
        };
        for (name, property) in object(schema, "properties").into_iter().flatten() {
            let path = format!("{prefix}{name}");
            self.property(&path, property, required && required_here(name), repeated);
        }
    }

    fn property(&mut self, path: &str, property: &Value, required: bool, within_array: bool) {
        let schema = self.resolve(property);
        if schema.get("properties").is_some() {
            return self.object(&format!("{path}."), &schema, required, within_array);
        }
        let repeated = is_type(&schema, "array");
        let value = match repeated {
            true => self.resolve(&schema["items"]),
            false => schema.clone(),
        };
        if repeated && value.get("properties").is_some() {
            // Elasticsearch keeps an array of objects as an array of values for each of their fields.
            return self.object(&format!("{path}."), &value, required, true);
        }
        let text = |schema: &Value| schema["description"].as_str().map(one_line);
        self.fields.push(Field {
            name: path.into(),
            kind: kind(property, &value),
            repeated: repeated || within_array,
            required,
            description: text(property).or_else(|| text(&schema)).unwrap_or_default(),
            values: values(&value),
        });
    }

    /// The schema behind references and `null` alternatives.
    fn resolve(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
            return self
                .definitions
                .get(name)
                .map_or(Value::Null, |it| self.resolve(it));
        }
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        match alternatives.clone().find(|it| !is_type(it, "null")) {
            Some(alternative) => self.resolve(alternative),
            None => schema.clone(),
        }
    }
}

/// The one table from the schema's types to ours. `x-elasticsearch` at the field says what a type can't.
fn kind(property: &Value, value: &Value) -> Kind {
    if property["x-elasticsearch"] == "text" {
        return Kind::Text;
    }
    if property["x-elasticsearch"] == "words" {
        return Kind::Words;
    }
    if value["x-elasticsearch"] == "json" {
        return Kind::Json;
    }
    match value["format"].as_str() {
        Some("ip") => return Kind::Ip,
        Some("date-time") => return Kind::Date,
        _ => {}
    }
    if is_type(value, "integer") {
        Kind::Integer
    } else if is_type(value, "boolean") {
        Kind::Boolean
    } else if is_type(value, "object") {
        Kind::Map
    } else {
        Kind::Keyword
    }
}

fn values(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let described =
        described.flat_map(|it| it["enum"].as_array().into_iter().flatten().chain(it.get("const")));
    listed
        .chain(described)
        .filter_map(Value::as_str)
        .map(Into::into)
        .collect()
}

fn is_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(one) => one == name,
        Value::Array(several) => several.iter().any(|it| it == name),
        _ => false,
    }
}

fn object<'a>(schema: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    schema.get(key).and_then(Value::as_object)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
