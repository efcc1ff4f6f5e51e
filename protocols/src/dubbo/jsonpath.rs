//! Fastjson names what was written before by its path: `$`, `$.children[0].name`.

use std::fmt::Write;

/// The JSON pointer of such a path; `root` is that of the value that the path begins at.
pub(super) fn pointer(root: &str, path: &str) -> String {
    let mut pointer = root.to_owned();
    let mut rest = path.strip_prefix('$').unwrap_or(path).chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '[' => {
                pointer.push('/');
                let quoted = rest.next_if(|c| matches!(c, '"' | '\''));
                while let Some(c) = rest.next() {
                    match c {
                        ']' if quoted.is_none() => break,
                        c if Some(c) == quoted => {}
                        ']' if rest.peek().is_none_or(|c| matches!(c, '.' | '[')) => break,
                        c => escape(&mut pointer, c),
                    }
                }
            }
            '.' => pointer.push('/'),
            '\\' => {
                if let Some(c) = rest.next() {
                    escape(&mut pointer, c);
                }
            }
            c => escape(&mut pointer, c),
        }
    }
    pointer
}

fn escape(pointer: &mut String, c: char) {
    // Writing to a string can't fail.
    let _ = match c {
        '~' => pointer.write_str("~0"),
        '/' => pointer.write_str("~1"),
        c => pointer.write_char(c),
    };
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn paths_become_pointers() {
        for (path, expected) in [
            ("$", "/r"),
            ("$.a.b", "/r/a/b"),
            ("$[0].friend", "/r/0/friend"),
            ("$.a\\.b[12]", "/r/a.b/12"),
            ("$[\"x y\"].z", "/r/x y/z"),
            ("$.a/b", "/r/a~1b"),
        ] {
            assert_eq!(pointer("/r", path), expected, "{path}");
        }
    }
}
