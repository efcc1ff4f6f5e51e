//! The field reference in `docs/` is that of the types.

use std::path::Path;

#[test]
fn the_field_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fields.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == weir_records::schema::reference(),
        "docs/fields.md is stale; run: cargo run -p weir-records --example fields > docs/fields.md"
    );
}

#[test]
fn every_field_says_what_it_means() {
    for field in weir_records::schema::fields() {
        assert!(!field.description.is_empty(), "{} has no description", field.name);
    }
}
