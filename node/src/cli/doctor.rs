//! `fmesh doctor`: which step of reachability fails, and what mends it.

use super::{
    Context,
    failure::Failure,
    out::Out,
    table::{Table, text},
    words::{count, printable},
};
use crate::{
    api::view::{Doctor, Exit},
    doctor::CheckState,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name, site id or its beginning; all partners if absent
    partner: Option<String>,
}

/// Failed if a step fails, so that a script can tell.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let query = [("partner", args.partner.as_deref())];
    let reply = context.client()?.get(&["doctor"], &query).await?;
    let doctor: Doctor = reply.read()?;
    if !context.out.as_json(&reply.0)? {
        context.out.data(&head(&doctor, &context.out))?;
        context.out.table(&steps(&doctor), "")?;
    }
    let failed = doctor
        .causes
        .iter()
        .any(|cause| cause.state == CheckState::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Causes, worst first, each with what mends it.
fn head(doctor: &Doctor, out: &Out) -> String {
    if doctor.causes.is_empty() {
        return "Nothing is known to be wrong.\n".to_owned();
    }
    let title = format!("! {}", count(doctor.causes.len() as u64, "cause"));
    let mut text = format!("{}\n", out.alarm(&title));
    for cause in &doctor.causes {
        let what = format!("{}: {}: {}", cause.subject, cause.step, cause.what);
        text += &format!("  {}\n", out.alarm(&what));
        if let Some(fix) = &cause.fix {
            text += &format!("    -> {}\n", printable(fix));
        }
    }
    text
}

fn steps(doctor: &Doctor) -> Table {
    let mut table = Table::new(&[text("WHERE"), text("STEP"), text("STATE"), text("SEEN")]);
    for check in &doctor.checks {
        table.row([
            check.subject.clone(),
            check.step.clone(),
            state(check.state).to_owned(),
            check.what.clone(),
        ]);
    }
    table
}

const fn state(state: CheckState) -> &'static str {
    match state {
        CheckState::Ok => "ok",
        CheckState::Unknown => "unknown",
        CheckState::Weak => "weak",
        CheckState::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Check;

    #[test]
    fn causes_stand_first_with_what_mends_them() {
        let check = Check {
            subject: "Bolt\u{1b}[31m".into(),
            step: "port".into(),
            state: CheckState::Failed,
            what: "closed".into(),
            fix: Some("ask them".into()),
        };
        let doctor = Doctor {
            causes: vec![check.clone()],
            checks: vec![check],
        };
        let text = head(&doctor, &Out::plain());
        assert!(text.starts_with("! 1 cause\n"), "{text}");
        assert!(text.contains("-> ask them"), "{text}");
        assert!(
            !text.contains('\u{1b}'),
            "a partner's name draws nothing: {text:?}"
        );
        let healthy = Doctor {
            causes: Vec::new(),
            checks: Vec::new(),
        };
        assert_eq!(
            head(&healthy, &Out::plain()),
            "Nothing is known to be wrong.\n"
        );
        assert!(steps(&healthy).is_empty());
    }
}
