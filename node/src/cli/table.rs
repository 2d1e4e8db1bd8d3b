//! Tables that fit the terminal: one line a row, what does not fit is cut with `…`.

use comfy_table::{CellAlignment, ContentArrangement, Row, presets};

use super::{failure::Failure, words::printable};

/// A column: its heading, and whether it is there without being asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    extra: bool,
    right: bool,
}

/// A column of text.
pub(crate) const fn text(title: &'static str) -> Column {
    Column {
        title,
        extra: false,
        right: false,
    }
}
/// A column of numbers.
pub(crate) const fn number(title: &'static str) -> Column {
    Column {
        title,
        extra: false,
        right: true,
    }
}
/// A column that is shown when `--columns` names it.
pub(crate) const fn extra(title: &'static str) -> Column {
    Column {
        title,
        extra: true,
        right: false,
    }
}

impl Column {
    /// How `--columns` names it: `THEY SEE` is `they_see`.
    fn name(&self) -> String {
        self.title.to_lowercase().replace(' ', "_")
    }
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            titles: columns.iter().map(|c| c.title.to_owned()).collect(),
            rows: Vec::new(),
        }
    }
    /// Replaces the heading of a column that says more in this answer than its name does.
    pub(crate) fn title(&mut self, column: usize, title: String) {
        self.titles[column] = title;
    }
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for every column");
        self.rows
            .push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, at most `width` columns wide if one is given. `wanted` picks and orders columns by name.
    pub(crate) fn render(
        &self,
        width: Option<u16>,
        wanted: Option<&[String]>,
    ) -> Result<String, Failure> {
        let picked = self.pick(wanted)?;
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_truncation_indicator("…")
            .force_no_tty();
        let mut titles = Row::from(picked.iter().map(|&i| self.titles[i].as_str()));
        titles.max_height(1);
        table.set_header(titles);
        for row in &self.rows {
            let mut cells = Row::from(picked.iter().map(|&i| row[i].as_str()));
            cells.max_height(1);
            table.add_row(cells);
        }
        // cells have no left padding and two blanks to the right, so the widths add up to the line
        for (column, &i) in table.column_iter_mut().zip(&picked) {
            column.set_padding((0, 2));
            if self.columns[i].right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        if let Some(width) = width {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        let lines: Vec<String> = table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        Ok(lines.join("\n") + "\n")
    }

    fn pick(&self, wanted: Option<&[String]>) -> Result<Vec<usize>, Failure> {
        let Some(wanted) = wanted else {
            return Ok((0..self.columns.len())
                .filter(|&i| !self.columns[i].extra)
                .collect());
        };
        wanted
            .iter()
            .map(|name| {
                self.columns
                    .iter()
                    .position(|c| c.name().eq_ignore_ascii_case(name))
                    .ok_or_else(|| {
                        let names: Vec<String> = self.columns.iter().map(Column::name).collect();
                        Failure::usage(format!("this table has no column {name}"))
                            .hint(format!("--columns takes: {}", names.join(",")))
                    })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            text("FACTORY"),
            text("RESOURCE"),
            number("FREE"),
            extra("SITE ID"),
        ]);
        table.row([
            "Präzisionsteile und Werkzeugbau Oberösterreich Gesellschaft m.b.H.".into(),
            "Fünf-Achs-Bearbeitungszentrum-DMU-80-monoBLOCK-Halle-4".into(),
            "37 h".into(),
            "ab".into(),
        ]);
        table.row(["Bolt".into(), "C42".into(), "0 h".into(), "cd".into()]);
        table
    }

    #[test]
    fn long_names_fit_80_columns_on_one_line_each() {
        for width in [40, 80] {
            let text = table().render(Some(width), None).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            for line in &lines {
                assert!(
                    line.chars().count() <= usize::from(width),
                    "{width}: {line:?}"
                );
            }
            assert!(lines[0].contains("FACTORY") && lines[0].contains("RESOURCE"));
            assert!(
                lines[1].contains('…') && lines[1].contains("37 h"),
                "{text}"
            );
            assert!(
                lines[2].starts_with("Bolt") && lines[2].contains("C42"),
                "{text}"
            );
        }
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let text = table().render(None, None).unwrap();
        assert!(
            text.contains("Gesellschaft m.b.H.") && text.contains("Halle-4") && !text.contains('…')
        );
        assert!(!text.contains("SITE ID") && text.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn columns_are_picked_in_order_and_unknown_ones_refused() {
        let wanted = ["free".to_owned(), "site_id".to_owned()];
        let text = table().render(None, Some(&wanted)).unwrap();
        assert!(
            text.starts_with("FREE  SITE ID\n") && !text.contains("C42"),
            "{text}"
        );
        let failure = table().render(None, Some(&["fre".to_owned()])).unwrap_err();
        assert_eq!(failure.exit as u8, 2);
        assert_eq!(
            failure.hint.as_deref(),
            Some("--columns takes: factory,resource,free,site_id")
        );
    }

    #[test]
    fn cells_stay_on_their_line() {
        let mut table = Table::new(&[text("A")]);
        table.row(["one\ntwo\x1b[2J".into()]);
        let text = table.render(None, None).unwrap();
        assert_eq!(text, "A\none two\\u{1b}[2J\n");
    }
}
