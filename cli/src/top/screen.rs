//! Where reports are shown: a terminal that is written over, plain tables one after the other, or JSON.

use super::report::Report;
use anyhow::Result;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use terminal_size::{Height, Width, terminal_size_of};

/// Rows where nobody says how many, and no terminal how high it is.
const ROWS: usize = 20;
/// The terminal's other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the top; the rest of the line, and of the screen, made empty.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// Something that can be shown.
pub trait Show {
    /// As one JSON object with so many rows at most.
    fn json(&self, most: usize) -> serde_json::Value;
    /// As lines, of which two are not rows.
    fn lines(&self, most: usize) -> Vec<String>;
}

impl Show for Report {
    fn json(&self, most: usize) -> serde_json::Value {
        self.json(most)
    }

    fn lines(&self, most: usize) -> Vec<String> {
        self.lines(most)
    }
}

/// Standard output, as the terminal was once this is dropped.
pub struct Screen {
    out: BufWriter<Stdout>,
    json: bool,
    /// It is a terminal that is written over.
    over: bool,
    shown: bool,
}

impl Screen {
    /// Standard output; `again` if more than one report is to be shown.
    pub fn new(json: bool, again: bool) -> Self {
        let over = again && !json && io::stdout().is_terminal();
        let mut screen = Self {
            out: BufWriter::new(io::stdout()),
            json,
            over,
            shown: false,
        };
        if over {
            // A terminal that is gone is found when the report is shown.
            let _ = write!(screen.out, "{ENTER}");
        }
        screen
    }

    /// True if it is a terminal, of which every report takes the whole.
    pub fn is_written_over(&self) -> bool {
        self.over
    }

    /// Shows a report, with this many rows or as many as fit.
    ///
    /// # Errors
    /// Nobody reads it.
    pub fn show(&mut self, report: &impl Show, rows: Option<usize>) -> Result<()> {
        if self.json {
            writeln!(self.out, "{}", report.json(rows.unwrap_or(ROWS)))?;
        } else if self.over {
            self.write_over(report, rows)?;
        } else {
            if self.shown {
                writeln!(self.out)?;
            }
            for line in report.lines(rows.unwrap_or(ROWS)) {
                writeln!(self.out, "{line}")?;
            }
        }
        self.shown = true;
        Ok(self.out.flush()?)
    }

    fn write_over(&mut self, report: &impl Show, rows: Option<usize>) -> Result<()> {
        let size = terminal_size_of(io::stdout());
        let (width, height) = size.map_or((80, 24), |(Width(w), Height(h))| (w.into(), h.into()));
        let fit = usize::saturating_sub(height, 3);
        let lines = report.lines(rows.map_or(fit, |rows| rows.min(fit)));
        write!(self.out, "{HOME}")?;
        for (n, line) in lines.iter().take(height).enumerate() {
            let end = if n == 0 { "" } else { "\r\n" };
            let (line, mark) = cut(line, width);
            write!(self.out, "{end}{line}{mark}{CLEAR_LINE}")?;
        }
        write!(self.out, "{CLEAR_REST}")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.over {
            let _ = write!(self.out, "{LEAVE}");
            let _ = self.out.flush();
        }
    }
}

/// As much of a line as a terminal so wide has room for, and what says behind it that there is more.
fn cut(line: &str, width: usize) -> (&str, &'static str) {
    let place = |at: usize| line.char_indices().nth(at).map(|(end, _)| end);
    match (place(width), place(width.saturating_sub(1))) {
        (Some(_), Some(end)) if width > 0 => (&line[..end], "…"),
        (Some(_), _) => ("", ""),
        (None, _) => (line, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_the_terminal_ends() {
        assert_eq!(cut("größer", 4), ("grö", "…"));
        assert_eq!(cut("größer", 6), ("größer", ""));
        assert_eq!(cut("größer", 1), ("", "…"));
        assert_eq!(cut("größer", 0), ("", ""));
        assert_eq!(cut("", 0), ("", ""));
    }
}
