//! A call of Dubbo 2 over Hessian 2.

/// A string in Hessian 2.
fn s(text: &str) -> Vec<u8> {
    [
        &[u8::try_from(text.len()).expect("a short text")],
        text.as_bytes(),
    ]
    .concat()
}

/// A longer one.
fn long(text: &str) -> Vec<u8> {
    [&b"\x30"[..], &s(text)].concat()
}

fn frame(flags: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body").to_be_bytes();
    [
        &[0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, 7],
        &length[..],
        body,
    ]
    .concat()
}

/// An order: an object of 6 fields, with a list of three objects of 3 fields.
pub fn order() -> Vec<u8> {
    let fields = ["id", "customer", "express", "total", "lines", "note"];
    let line = ["sku", "amount", "price"];
    let class = |name: &str, fields: &[&str]| {
        let count = 0x90 + u8::try_from(fields.len()).expect("few fields");
        let fields: Vec<u8> = fields.iter().flat_map(|field| s(field)).collect();
        [&b"C"[..], &s(name), &[count], &fields].concat()
    };
    let lines: Vec<u8> = (0..3)
        .flat_map(|_| {
            [
                &b"\x61"[..],
                &s("SKU-0001-BLUE"),
                b"\x93",
                b"\x5f\x00\x00\x4d\xf7",
            ]
            .concat()
        })
        .collect();
    let object = [
        &b"\x60L\x00\x00\x01\x8f\x00\x00\x12\x34"[..],
        &s("customer-4711"),
        b"TD\x40\x4d\xf7\x0a\x3d\x70\xa3\xd7",
        &class("shop.api.OrderLine", &line),
        b"\x7b",
        &lines,
        b"N",
    ];
    [class("shop.api.Order", &fields), object.concat()].concat()
}

/// A word, the other argument.
pub fn word() -> Vec<u8> {
    s("web")
}

/// A call of `place(Order, String)` with the attachments that Java sends, and its answer.
pub fn call() -> [Vec<u8>; 2] {
    let pairs = [
        ("path", "shop.api.OrderService"),
        ("remote.application", "shop-web"),
        ("interface", "shop.api.OrderService"),
        ("version", "1.0.0"),
        ("timeout", "5000"),
    ];
    let pairs: Vec<u8> = pairs
        .iter()
        .flat_map(|(key, value)| [s(key), s(value)].concat())
        .collect();
    let asked = [
        s("2.0.2"),
        s("shop.api.OrderService"),
        s("1.0.0"),
        s("place"),
        long("Lshop/api/Order;Ljava/lang/String;"),
        order(),
        word(),
        [&b"H"[..], &pairs, b"Z"].concat(),
    ];
    let answered = [&b"\x94"[..], &order(), b"H", &s("dubbo"), &s("2.0.2"), b"Z"].concat();
    [frame(0xc2, 0, &asked.concat()), frame(2, 20, &answered)]
}
