use super::*;
use crate::import::{errors::tests::lines, resources_from};

fn import(text: &str) -> Result<Rows<ResourceFields>, ImportError> {
    resources_from(text.as_bytes(), &Options::default())
}

#[test]
fn a_german_table_becomes_resources() {
    let rows = import(
        "Anlage;Bezeichnung;Ebene;Verfahren;Kernkompetenz;Werkstoffe;Hersteller;Typ;Serien-Nr.;Baujahr;Merkmale;Teil von;Farbe\n\
         HALLE-2;Zerspanung;Bereich;;;;;;;;;;grau\n\
         DMU-80;Fräszentrum;Maschine;separating/milling/5-axis | Separating/Drilling;ja;metal/aluminium/en-aw-7075|metal/aluminium;DMG;DMU 80;0815;2019;travel-x=0..1.250,5 mmt|taper=HSK-A63|tolerance=..0,01 MMT;HALLE-2;\n",
    )
    .unwrap();
    assert_eq!(
        rows.format,
        "csv, UTF-8, \";\" between cells, decimal comma"
    );
    assert_eq!(
        rows.warnings,
        ["column \"Farbe\" is not known and was left out"]
    );
    let [hall, mill] = &rows.rows[..] else {
        panic!("{rows:?}")
    };
    assert_eq!(
        (hall.row, hall.key.as_str(), hall.fields.level),
        (2, "HALLE-2", Some(Level::Area))
    );
    assert_eq!(
        (&hall.fields.capabilities, &hall.fields.nameplate),
        (&None, &None)
    );
    let fields = &mill.fields;
    assert_eq!(
        (fields.level, fields.parent.as_deref()),
        (Some(Level::WorkUnit), Some("HALLE-2"))
    );
    assert_eq!(fields.nameplate.as_ref().unwrap().year, Some(2019));
    let capabilities = fields.capabilities.as_ref().unwrap();
    assert_eq!(
        capabilities
            .iter()
            .map(|c| c.process.as_str())
            .collect::<Vec<_>>(),
        ["separating/milling/5-axis", "separating/drilling"]
    );
    assert!(
        capabilities
            .iter()
            .all(|c| c.core && c.materials.len() == 2)
    );
    let properties: Vec<String> = capabilities[1]
        .properties
        .iter()
        .map(|p| {
            format!(
                "{} {:?} {:?} {:?}",
                p.name,
                p.min.map(|q| q.to_string()),
                p.max.map(|q| q.to_string()),
                p.value
            )
        })
        .collect();
    assert_eq!(
        properties,
        [
            "travel-x Some(\"0\") Some(\"1250.5\") None",
            "taper None None Some(\"HSK-A63\")",
            "tolerance None Some(\"0.01\") None",
        ]
    );
}

#[test]
fn every_error_is_told_with_its_place() {
    let table = "id,name,level,process,core,material,year,properties\n\
        A,Mill,Robot,milling,maybe,Metal alloy,19,wide\n\
        A,,,,,metal/steel,,\n\
        ,x,,,,,,\n\
        B,,,separating/milling,,,,\"travel=9..1 MMT | x=1..2 furlong | y=a..2\"\n";
    assert_eq!(
        lines(import(table)),
        [
            "2 year: \"19\" cannot be taken",
            "2 level: \"Robot\" cannot be taken",
            "2 material: \"Metal alloy\" cannot be taken",
            "2 properties: \"wide\" cannot be taken",
            "2 core: \"maybe\" cannot be taken",
            "2 process: \"milling\" cannot be taken",
            "3 process: the cell is empty",
            "3 id: \"A\" stands in row 2 already",
            "4 id: the cell is empty",
            "5 properties: \"furlong\" cannot be taken",
            "5 properties: \"a\" is not a number",
            "5 -: property \"travel\" has min 9 above max 1",
        ]
    );
    assert_eq!(
        lines(import("name;process\nMill;x\n")),
        ["1 -: there is no column id"]
    );
    let long = format!("id;name\nA;{}\n", "x".repeat(201));
    assert_eq!(
        lines(import(&long)),
        ["2 -: name is longer than 200 characters"]
    );
}

#[test]
fn properties_and_levels() {
    let read = |text| Draft::read(text).map(|d| (d.name, d.range, d.value, d.unit));
    assert_eq!(
        read("x = 1 000.. 2 000 MMT"),
        Some(("x", [Some("1 000"), Some("2 000")], None, Some("MMT")))
    );
    assert_eq!(
        read("x=5.. MMT"),
        Some(("x", [Some("5"), None], None, Some("MMT")))
    );
    assert_eq!(read("x=..5"), Some(("x", [None, Some("5")], None, None)));
    assert_eq!(read("x=a=b"), Some(("x", [None; 2], Some("a=b"), None)));
    for bad in ["", "x", "x=", "=5", "x=..", "x=.. MMT"] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
    for known in Level::ALL {
        assert_eq!(level(&known.as_str().to_uppercase()), Some(*known));
    }
}
