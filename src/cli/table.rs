//! Tables for people: columns as wide as their widest cell, two spaces apart.

use super::print::spelled_out;
use std::fmt;

/// Rows below a head.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|name| name.to_uppercase()).collect()],
        }
    }

    /// Adds a row with a cell for each column. An empty cell is shown as a dash, and one is one line, whatever is in it.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cell = |cell: String| {
            if cell.is_empty() { "-".to_owned() } else { spelled_out(&cell, &[]) }
        };
        self.rows.push(cells.into_iter().map(cell).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_is_shown_as_a_dash() {
        let mut table = Table::new(&["name", "size"]);
        table.row(["é".to_owned(), "10".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME    SIZE\né       10\nlonger  -\n");
    }

    #[test]
    fn no_cell_gives_the_terminal_orders_or_another_line() {
        let mut table = Table::new(&["name"]);
        table.row(["a\u{1b}]0;x\u{7}\u{9b}2J\tb\nc".to_owned()]);
        assert_eq!(table.to_string(), "NAME\na\\u{1b}]0;x\\u{7}\\u{9b}2J\\tb\\nc\n");
    }
}
