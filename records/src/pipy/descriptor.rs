//! Java types back in the words of a method's descriptor.

/// The descriptor (JVM specification, 4.3.3) of parameters of these types: of `int` and `java.lang.String[]`,
/// `I[Ljava/lang/String;`.
pub(super) fn descriptor(types: &[String]) -> String {
    let mut descriptor = String::new();
    types.iter().for_each(|name| push(&mut descriptor, name));
    descriptor
}

fn push(descriptor: &mut String, name: &str) {
    let mut name = name;
    while let Some(element) = name.strip_suffix("[]") {
        descriptor.push('[');
        name = element;
    }
    let letter = match name {
        "boolean" => 'Z',
        "byte" => 'B',
        "short" => 'S',
        "char" => 'C',
        "int" => 'I',
        "long" => 'J',
        "float" => 'F',
        "double" => 'D',
        "void" => 'V',
        class => {
            descriptor.push('L');
            descriptor.extend(class.chars().map(|c| if c == '.' { '/' } else { c }));
            ';'
        }
    };
    descriptor.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_the_wire_has_them() {
        let types = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let all = types(&[
            "boolean",
            "byte",
            "short",
            "char",
            "int",
            "long",
            "float",
            "double",
            "java.lang.Integer",
            "int[][]",
            "a.B$C[]",
        ]);
        assert_eq!(descriptor(&all), "ZBSCIJFDLjava/lang/Integer;[[I[La/B$C;");
        assert_eq!(descriptor(&[]), "");
    }
}
