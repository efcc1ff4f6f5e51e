//! Prints the field reference: `cargo run -p weir-records --example fields > docs/fields.md`.

fn main() {
    print!("{}", weir_records::schema::reference());
}
