use fmesh_proto::quantity::Quantity;
use proptest::prelude::*;

use super::*;
use crate::import::{capacities_from, errors::tests::lines, xlsx};

fn import(text: &str) -> Result<Rows<CapacityFields>, ImportError> {
    capacities_from(text.as_bytes(), &Options::default())
}

fn told(column: &Option<Vec<Option<Quantity>>>) -> String {
    let number =
        |number: &Option<Quantity>| number.map_or("?".to_owned(), |number| number.to_string());
    column.as_ref().map_or("-".to_owned(), |column| {
        column.iter().map(number).collect::<Vec<_>>().join(" ")
    })
}

#[test]
fn a_long_table_becomes_series_and_gaps_stay_unknown() {
    let rows = import(
        "resource,week,unit,total,committed,available,unattainable,reason\n\
         C42,2026-W52,HUR,75,30,,45,holidays\n\
         DMU,2026-W49,HUR,75,30.5,44.5,0,\n\
         C42,2027-W01,HUR,75,?,0,0,\n\
         C42,2026-W51,HUR,75,0,75,0,\n",
    )
    .unwrap();
    let [c42, dmu] = &rows.rows[..] else {
        panic!("{rows:?}")
    };
    assert_eq!((c42.key.as_str(), c42.row, dmu.row), ("C42", 2, 3));
    let fields = &c42.fields;
    assert_eq!(
        (fields.start, fields.bucket),
        (Some(jiff::civil::date(2026, 12, 14)), Some(Bucket::Week))
    );
    assert_eq!(told(&fields.total), "75 75 ? 75");
    assert_eq!(told(&fields.committed), "0 30 ? ?");
    assert_eq!(told(&fields.available), "75 ? ? 0");
    assert_eq!(told(&fields.maximum), "-");
    assert_eq!(
        fields.reason.as_ref().unwrap()[1].as_deref(),
        Some("holidays")
    );
    assert_eq!(fields.resources.as_deref(), Some(&["C42".to_owned()][..]));
    assert_eq!(dmu.fields.reason, None);
}

#[test]
fn a_german_export_in_cp1252() {
    let text = "Jahr;KW;Anlage;Kapazität (Std);Belegt;Verfügbar;Stillstand;Grund\n\
        2026;53;MONT-1;37,5;30;7,5;0;\n\
        2027;1;MONT-1;37,5;0;22,5;15;Heilige Drei Könige\n";
    let (bytes, _, _) = encoding_rs::WINDOWS_1252.encode(text);
    let rows = capacities_from(&bytes, &Options::default()).unwrap();
    assert_eq!(
        rows.format,
        "csv, windows-1252, \";\" between cells, decimal comma"
    );
    let fields = &rows.rows[0].fields;
    assert_eq!(
        (told(&fields.total), told(&fields.unattainable)),
        ("37.5 37.5".into(), "0 15".into())
    );
    assert_eq!(
        fields.reason.as_ref().unwrap()[1].as_deref(),
        Some("Heilige Drei Könige")
    );
    assert_eq!(fields.start, Some(jiff::civil::date(2026, 12, 28)));
}

#[test]
fn a_wide_table_reads_the_same_as_a_long_one() {
    let wide = import("id;measure;unit;KW 49/2026;2026-W51;2026-W50\nA;total;HUR;40;40;\nA;frei;;12;0;7\nA;Grund;;;shut;\n").unwrap();
    let long = import(
        "id;week;unit;total;available;reason\nA;2026-W49;HUR;40;12;\nA;2026-W51;HUR;40;0;shut\nA;2026-W50;HUR;;7;\n",
    )
    .unwrap();
    assert_eq!(wide.rows, long.rows);
    assert_eq!(told(&wide.rows[0].fields.total), "40 ? 40");
    let options = Options {
        measure: Some(Measure::Available),
        resource: Some("B".to_owned()),
        unit: Some(Unit::HOUR),
        weeks: "2026-W50".parse().ok(),
        ..Options::default()
    };
    let alone = capacities_from(b"2026-W49,2026-W50\n1,2\n", &options).unwrap();
    assert_eq!(
        (
            alone.rows[0].key.as_str(),
            told(&alone.rows[0].fields.available)
        ),
        ("B", "2".to_owned())
    );
}

#[test]
fn days_groups_and_workbooks() {
    let rows = import(
        "capacity,resource,process,name,date,available (h)\n\
         mills,A|B,separating/milling,Mills,30.11.2026,1\nmills,,,,2026-12-02,2\n",
    )
    .unwrap();
    let row = &rows.rows[0];
    assert_eq!(
        (
            row.key.as_str(),
            row.fields.bucket,
            told(&row.fields.available)
        ),
        ("mills", Some(Bucket::Day), "1 ? 2".into())
    );
    assert_eq!(row.fields.resources.as_ref().unwrap().len(), 2);
    let text =
        |at: &str, text: &str| format!(r#"<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>"#);
    let sheet = format!(
        r#"<row r="1">{}{}{}</row><row r="2"><c r="A2"><v>4711</v></c><c r="B2" s="1"><v>46356</v></c><c r="C2"><v>11.899999999999999</v></c></row>"#,
        text("A1", "Anlage"),
        text("B1", "Wochenbeginn"),
        text("C1", "Frei (h)")
    );
    let rows = capacities_from(&xlsx::tests::workbook(&sheet), &Options::default()).unwrap();
    let row = &rows.rows[0];
    assert_eq!(
        (
            row.key.as_str(),
            row.fields.bucket,
            told(&row.fields.available)
        ),
        ("4711", Some(Bucket::Week), "11.9".into())
    );
}

#[test]
fn every_error_is_told_with_its_place() {
    let table = "resource,week,unit,total,committed,available,unattainable,maximum\n\
        A,2026-W54,HUR,1,1,0,0,\n\
        A,2026-W49,HUR,40,28,12,1,\n\
        A,2026-W50,HUR,abc,,1.2345,,\n\
        A,2026-W49,HUR,1,1,0,0,\n\
        A,2026-W51,H87,1,1,0,0,\n\
        ,2026-W51,HUR,1,1,0,0,\n\
        B,,HUR,1,1,0,0,\n\
        B,2026-W51,furlong,1,1,0,0,\n\
        C,2026-W51,HUR,-1,,12,,11\n";
    assert_eq!(
        lines(import(table)),
        [
            "2 week: \"2026-W54\" cannot be taken",
            "3 -: 2026-W49: total 40 is not committed 28 + available 12 + unattainable 1 = 41",
            "4 total: \"abc\" is not a number",
            "4 available: \"1.2345\" cannot be taken",
            "5 -: \"A\" has 2026-W49 in row 3 already",
            "6 unit: row 2 says something else about \"A\"",
            "7 resource: the cell is empty",
            "8 week: the cell is empty",
            "9 unit: \"furlong\" cannot be taken",
            "10 -: 2026-W51: total -1 is negative",
        ]
    );
    let error = import("resource,week,unit,total\nA,2026-W54,HUR,1\n").unwrap_err();
    assert!(error.rows()[0].why.contains("2026 has 53 weeks"));
}

#[test]
fn tables_that_say_too_little_are_refused() {
    let cases = [
        (
            "week,available (h)\n2026-W49,1\n",
            "1 -: there is no column resource",
        ),
        (
            "resource,available (h)\nA,1\n",
            "1 -: there is no column week",
        ),
        (
            "resource,week,unit\nA,2026-W49,HUR\n",
            "1 -: there is no column available",
        ),
        (
            "resource,week,available\nA,2026-W49,1\n",
            "1 -: the file does not say the unit of its numbers",
        ),
        (
            "resource,unit,2026-W49\nA,HUR,1\n",
            "1 -: the table does not say what its numbers are",
        ),
        (
            "resource,unit,measure,2026-W54\nA,HUR,total,1\n",
            "1 2026-W54: there is no such week",
        ),
        (
            "resource,unit,measure,2026-W49,30.11.2026\nA,HUR,total,1,1\n",
            "1 30.11.2026: the columns \"2026-W49\" and \"30.11.2026\" are the same time",
        ),
        (
            "resource,week,date,available (h)\nA,2026-W49,2026-11-30,1\n",
            "1 date: both week and date say when",
        ),
        (
            "resource,date,available (h)\nA,11/30/2026,1\n",
            "2 date: \"11/30/2026\" cannot be taken",
        ),
        (
            "resource,weekstart,available (h)\nA,2026-12-01,1\n",
            "2 -: start 2026-12-01 is a Tuesday: weekly buckets start on Monday, here 2026-11-30",
        ),
        (
            "resource,week,unit,available\nA|B,2026-W49,HUR,1\n",
            "2 resource: several resources have no name together",
        ),
        (
            "resource,week,unit,available\nA,2026-W49,HUR,1\nA,2037-W49,HUR,1\n",
            "2 -: \"A\" runs from 2026-11-30 to 2037-11-30, which is 575 buckets",
        ),
        (
            "resource,unit,measure,2026-W49\nA,HUR,total,1\nA,HUR,gesamt,1\n",
            "3 -: \"A\" has this measure in row 2 already",
        ),
        (
            "resource,unit,measure,2026-W49\nA,HUR,colour,1\n",
            "2 measure: \"colour\" is no measure",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            lines(import(text)).first().map(String::as_str),
            Some(expected),
            "{text}"
        );
    }
    let options = Options {
        weeks: "2030-W01".parse().ok(),
        ..Options::default()
    };
    let error =
        capacities_from(b"resource,week,available (h)\nA,2026-W49,1\n", &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file has no rows in the weeks 2030-W01"
    );
}

proptest! {
    #[test]
    fn unknown_and_zero_are_never_confused(cells in prop::collection::vec(prop::option::of(0_i64..100_000), 1..40)) {
        let week = |n: usize| Week::new(2026, 1).unwrap().plus(n as i32).unwrap();
        let cell = |cell: &Option<i64>| cell.map_or(String::new(), |n| Quantity::from_thousandths(n).to_string());
        let lines: String = cells.iter().enumerate().map(|(n, c)| format!("A;{};{};x\n", week(n), cell(c))).collect();
        let options = Options { decimal: Some(Decimal::Point), ..Options::default() };
        let text = format!("resource;week;available [HUR];reason\n{lines}");
        let rows = capacities_from(text.as_bytes(), &options).unwrap();
        let expected: Vec<_> = cells.iter().map(|c| c.map(Quantity::from_thousandths)).collect();
        let expected = expected.iter().any(Option::is_some).then_some(expected);
        prop_assert_eq!(&rows.rows[0].fields.available, &expected);
    }

    #[test]
    fn no_table_panics(text in "(resource|week|date|total|2026-W49|A|1|[,;\n\"]|.){0,60}") {
        let _ = (import(&text), crate::import::resources_from(text.as_bytes(), &Options::default()));
    }
}
