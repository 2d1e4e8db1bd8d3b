//! Circles as the operator defines them, what a change of them would let out, preview and explanation.

use std::collections::BTreeSet;

use fmesh_proto::{
    circle::{Audience, Circle, History, Rule, Slots},
    id::{CircleId, SiteId},
    kinds::{Kind, OnEnd},
    limits::{NAME_CHARS_MAX, TEXT_CHARS_MAX},
    membership::Membership,
};

use super::{Error, Service, refs, sharing, today};
use crate::{
    api::view::{
        self, AudienceRequest, AudienceView, CircleChange, CirclePut, CircleText, Explain, List,
        Members, Preview, RuleRequest, RuleView, Sharing, SharingApplied, SharingPut,
    },
    store::LocalObject,
    writer::{Edit, NewCircle},
};

impl Service {
    /// Circles by name.
    pub fn circles(&self) -> Result<List<view::Circle>, Error> {
        let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
        let mut circles = self.node.store.circles()?;
        circles.sort_by(|a, b| a.name.cmp(&b.name));
        let view = |circle: &Circle| self.circle_view(&membership, &objects, circle);
        Ok(List::new(circles.iter().map(view).collect(), None))
    }

    /// One circle.
    pub fn circle(&self, name: &str) -> Result<view::Circle, Error> {
        let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
        let circles = self.node.store.circles()?;
        let circle = choose(&circles, name)?;
        let mut deletions = self.deletions(&membership, &circles, &objects)?;
        deletions.retain(|deletion| deletion.circle == circle.id);
        Ok(view::Circle {
            deletions,
            delivery: self.delivery_of(&membership, circle)?,
            ..self.circle_view(&membership, &objects, circle)
        })
    }

    /// Creates or replaces a circle; a dry run says what would leave or stop leaving.
    pub async fn put_circle(&self, name: &str, mut put: CirclePut) -> Result<CircleChange, Error> {
        let dry_run = put.dry_run;
        let (edit, change) = {
            let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
            let circles = self.node.store.circles()?;
            let before = circles.iter().find(|circle| circle.name == name);
            let audience = match put.audience.take() {
                Some(asked) => Some(self.audience(&membership, asked)?),
                None => None,
            };
            let after = after(name, before, audience.clone(), put, &objects)?;
            let edit = edit_of(audience, after.clone());
            let change = self.change(&membership, &objects, before, &after, dry_run);
            (edit, change)
        };
        self.change_circle(edit, change).await
    }

    /// Adds partners to a group circle.
    pub async fn add_to_circle(&self, name: &str, add: Members) -> Result<CircleChange, Error> {
        let (edit, change) = {
            let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
            let circles = self.node.store.circles()?;
            let before = choose(&circles, name)?;
            let entering = self.partners_named(&membership, &add.partners)?;
            let mut after = before.clone();
            let Audience::Group { members } = &mut after.audience else {
                return Err(Error::conflict(
                    format!(
                        "circle {:?} is not for a group, so nobody can be added",
                        before.name
                    ),
                    "make a circle for a group: fmesh circle set NAME --group A,B",
                ));
            };
            members.extend(&entering);
            let edit = Edit::AddToCircle {
                name: before.name.clone(),
                members: entering,
            };
            let change = self.change(&membership, &objects, Some(before), &after, add.dry_run);
            (edit, change)
        };
        self.change_circle(edit, change).await
    }

    /// Takes partners out of a group circle.
    pub async fn drop_from_circle(
        &self,
        name: &str,
        leave: Members,
    ) -> Result<CircleChange, Error> {
        let (edit, change) = {
            let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
            let circles = self.node.store.circles()?;
            let before = choose(&circles, name)?;
            let leaving = self.partners_named(&membership, &leave.partners)?;
            let mut after = before.clone();
            if let Audience::Group { members } = &mut after.audience {
                members.retain(|member| !leaving.contains(member));
            }
            let edit = Edit::DropFromCircle {
                name: before.name.clone(),
                members: leaving,
            };
            let change = self.change(&membership, &objects, Some(before), &after, leave.dry_run);
            (edit, change)
        };
        self.change_circle(edit, change).await
    }

    /// Takes a circle away.
    pub async fn remove_circle(&self, name: &str, dry_run: bool) -> Result<CircleChange, Error> {
        let (edit, change) = {
            let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
            let circles = self.node.store.circles()?;
            let before = choose(&circles, name)?;
            let edit = Edit::RemoveCircle {
                name: before.name.clone(),
            };
            let change = self.removal(&membership, &objects, before, dry_run);
            (edit, change)
        };
        self.change_circle(edit, change).await
    }

    /// All circles as text.
    pub fn sharing(&self) -> Result<Sharing, Error> {
        let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
        let mut circles = self.node.store.circles()?;
        circles.sort_by(|a, b| a.name.cmp(&b.name));
        let text = |circle: Circle| CircleText {
            audience: match &circle.audience {
                Audience::MeshWide => AudienceRequest::Mesh,
                Audience::Pairwise { to } => AudienceRequest::Partner {
                    partner: self.spelling(&membership, to),
                },
                Audience::Group { members } => AudienceRequest::Group {
                    members: members
                        .iter()
                        .map(|site| self.spelling(&membership, site))
                        .collect(),
                },
            },
            rules: circle
                .rules
                .iter()
                .map(|rule| rule_text(rule_view(rule, &objects)))
                .collect(),
            history: is_group(&circle).then_some(circle.history),
            on_end: is_group(&circle).then_some(circle.on_end),
            name: circle.name,
            purpose: circle.purpose,
            until: circle.until,
        };
        Ok(Sharing {
            circles: circles.into_iter().map(text).collect(),
        })
    }

    /// Makes the circles what a text says, wholly or not at all.
    pub async fn apply_sharing(&self, put: SharingPut) -> Result<SharingApplied, Error> {
        let dry_run = put.dry_run;
        let (edits, mut applied) = self.sharing_edits(put)?;
        let done = if dry_run {
            self.node.writer.dry_run(edits).await?
        } else if edits.is_empty() {
            // An empty list would plan everything anew.
            return Ok(applied);
        } else {
            self.node.writer.apply(edits).await?
        };
        applied.signed = u64::try_from(done.issued.len()).unwrap_or(u64::MAX);
        Ok(applied)
    }

    fn sharing_edits(&self, put: SharingPut) -> Result<(Vec<Edit>, SharingApplied), Error> {
        let (membership, objects) = (self.membership(), self.node.store.objects(None)?);
        let circles = self.node.store.circles()?;
        let named: BTreeSet<&str> = put
            .sharing
            .circles
            .iter()
            .map(|text| text.name.as_str())
            .collect();
        if named.len() < put.sharing.circles.len() {
            return Err(Error::request(
                "a circle is in the text twice",
                "give each circle one entry; one circle can have several rules",
            ));
        }
        let gone: Vec<&Circle> = circles
            .iter()
            .filter(|circle| !named.contains(circle.name.as_str()))
            .collect();
        let mut applied = SharingApplied {
            dry_run: put.dry_run,
            changes: Vec::new(),
            same: 0,
            unnamed: Vec::new(),
            signed: 0,
        };
        let mut edits = Vec::new();
        if put.prune {
            // First, because a new circle may be for an audience that an old one has.
            edits.extend(gone.iter().map(|circle| Edit::RemoveCircle {
                name: circle.name.clone(),
            }));
        } else {
            applied.unnamed = gone.iter().map(|circle| circle.name.clone()).collect();
        }
        for text in put.sharing.circles {
            let before = circles.iter().find(|circle| circle.name == text.name);
            let audience = self.audience(&membership, text.audience)?;
            let is_group = matches!(audience, Audience::Group { .. });
            let asked = CirclePut {
                rules: text.rules,
                purpose: text.purpose,
                until: text.until,
                // What the text does not say is not kept.
                history: text.history.or(is_group.then(History::default)),
                on_end: text.on_end.or(is_group.then(OnEnd::default)),
                ..CirclePut::default()
            };
            let after = after(&text.name, before, Some(audience.clone()), asked, &objects)?;
            if before == Some(&after) {
                applied.same += 1;
                continue;
            }
            let change = self.change(&membership, &objects, before, &after, put.dry_run);
            applied.changes.push(change);
            edits.push(edit_of(Some(audience), after));
        }
        if put.prune {
            let removal = |circle| self.removal(&membership, &objects, circle, put.dry_run);
            applied.changes.extend(gone.into_iter().map(removal));
        }
        Ok((edits, applied))
    }

    /// How a text names a member: by name if that means nobody else.
    fn spelling(&self, membership: &Membership, site: &SiteId) -> String {
        let name = self.site_name(membership, site).name;
        match self.partner(membership, &name) {
            Ok(member) if member.site == *site => name,
            _ => site.hex(),
        }
    }

    /// Exactly what a partner sees of us.
    pub fn preview(&self, partner: &str) -> Result<Preview, Error> {
        let membership = self.membership();
        let site = self.partner(&membership, partner)?.site;
        let (circles, objects) = (self.node.store.circles()?, self.node.store.objects(None)?);
        let partner = self.site_name(&membership, &site);
        Ok(sharing::preview(&circles, &objects, partner, today()))
    }

    /// Why a partner does or does not see an object of ours, and what would change it.
    pub fn explain(&self, partner: &str, object: &str) -> Result<Explain, Error> {
        let membership = self.membership();
        let site = self.partner(&membership, partner)?.site;
        let (circles, objects) = (self.node.store.circles()?, self.node.store.objects(None)?);
        let object = refs::object(&objects, &SHARED_KINDS, object)?;
        let partner = self.site_name(&membership, &site);
        Ok(sharing::explain(
            &circles,
            &objects,
            object,
            partner,
            today(),
        ))
    }

    async fn change_circle(
        &self,
        edit: Edit,
        mut change: CircleChange,
    ) -> Result<CircleChange, Error> {
        let applied = if change.dry_run {
            self.node.writer.dry_run(vec![edit]).await?
        } else {
            self.node.writer.apply(vec![edit]).await?
        };
        change.signed = u64::try_from(applied.issued.len()).unwrap_or(u64::MAX);
        if let Some(id) = applied.circle.filter(|_| !change.dry_run) {
            change.circle.id = id;
        }
        Ok(change)
    }

    fn change(
        &self,
        membership: &Membership,
        objects: &[LocalObject],
        before: Option<&Circle>,
        after: &Circle,
        dry_run: bool,
    ) -> CircleChange {
        let old =
            before.map(|circle| audience_sites(&circle.audience, membership, &self.node.site));
        let old = old.unwrap_or_default();
        let new = audience_sites(&after.audience, membership, &self.node.site);
        let names = |sites: Vec<&SiteId>| {
            let name = |site: &&SiteId| self.site_name(membership, site);
            sites.iter().map(name).collect()
        };
        CircleChange {
            dry_run,
            circle: self.circle_view(membership, objects, after),
            new: before.is_none(),
            removed: false,
            entering: names(new.difference(&old).collect()),
            leaving: names(old.difference(&new).collect()),
            changes: sharing::changes(before, after, objects, today()),
            signed: 0,
        }
    }

    /// The change that takes a circle away: nothing is seen any more, and everybody leaves.
    fn removal(
        &self,
        membership: &Membership,
        objects: &[LocalObject],
        circle: &Circle,
        dry_run: bool,
    ) -> CircleChange {
        let emptied = Circle {
            rules: Vec::new(),
            ..circle.clone()
        };
        let leaving = audience_sites(&circle.audience, membership, &self.node.site);
        CircleChange {
            removed: true,
            leaving: leaving
                .iter()
                .map(|site| self.site_name(membership, site))
                .collect(),
            ..self.change(membership, objects, Some(circle), &emptied, dry_run)
        }
    }

    fn circle_view(
        &self,
        membership: &Membership,
        objects: &[LocalObject],
        circle: &Circle,
    ) -> view::Circle {
        let today = today();
        let live = objects.iter().filter(|object| !object.retired);
        let shown = live.filter(|object| !sharing::opened(circle, object, today).is_empty());
        view::Circle {
            name: circle.name.clone(),
            id: circle.id,
            audience: match &circle.audience {
                Audience::MeshWide => AudienceView::Mesh,
                Audience::Pairwise { to } => AudienceView::Partner {
                    partner: self.site_name(membership, to),
                },
                Audience::Group { members } => AudienceView::Group {
                    members: members
                        .iter()
                        .map(|site| self.site_name(membership, site))
                        .collect(),
                },
            },
            rules: circle
                .rules
                .iter()
                .map(|rule| rule_view(rule, objects))
                .collect(),
            purpose: circle.purpose.clone(),
            until: circle.until,
            history: is_group(circle).then_some(circle.history),
            on_end: is_group(circle).then_some(circle.on_end),
            ended: circle.until.is_some_and(|last| today > last),
            objects: u64::try_from(shown.count()).unwrap_or(u64::MAX),
            deletions: Vec::new(),
            delivery: Vec::new(),
        }
    }

    fn audience(&self, membership: &Membership, asked: AudienceRequest) -> Result<Audience, Error> {
        Ok(match asked {
            AudienceRequest::Mesh => Audience::MeshWide,
            AudienceRequest::Partner { partner } => Audience::Pairwise {
                to: self.partner(membership, &partner)?.site,
            },
            AudienceRequest::Group { members } => Audience::Group {
                members: self.partners_named(membership, &members)?,
            },
        })
    }

    fn partners_named(
        &self,
        membership: &Membership,
        names: &[String],
    ) -> Result<BTreeSet<SiteId>, Error> {
        let site = |name: &String| self.partner(membership, name).map(|member| member.site);
        names.iter().map(site).collect()
    }
}

fn is_group(circle: &Circle) -> bool {
    matches!(circle.audience, Audience::Group { .. })
}

/// The edit that makes a circle what it will be.
fn edit_of(audience: Option<Audience>, after: Circle) -> Edit {
    Edit::PutCircle(NewCircle {
        name: after.name,
        audience,
        rules: after.rules,
        purpose: after.purpose,
        until: after.until,
        history: after.history,
        on_end: after.on_end,
    })
}

/// The circle as it will be.
fn after(
    name: &str,
    before: Option<&Circle>,
    audience: Option<Audience>,
    put: CirclePut,
    objects: &[LocalObject],
) -> Result<Circle, Error> {
    if name.trim() != name || name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return Err(Error::request(
            format!(
                "a circle cannot be called {:?}",
                name.chars().take(80).collect::<String>()
            ),
            format!("use 1 to {NAME_CHARS_MAX} characters, no blank at the ends"),
        ));
    }
    if put
        .purpose
        .as_ref()
        .is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX)
    {
        return Err(Error::request(
            "the purpose is too long",
            format!("say it in at most {TEXT_CHARS_MAX} characters"),
        ));
    }
    let Some(audience) = audience.or_else(|| before.map(|circle| circle.audience.clone())) else {
        return Err(Error::request(
            format!("there is no circle {name:?} yet, and a new one needs an audience"),
            "say who it is for: --to PARTNER, --group PARTNER,PARTNER or --mesh",
        ));
    };
    if (put.history.is_some() || put.on_end.is_some())
        && !matches!(audience, Audience::Group { .. })
    {
        return Err(Error::request(
            format!("circle {name:?} is not for a group, so nobody enters or leaves it"),
            "history and on-end are for groups: members of the mesh may read all that was ever for all of them, and a circle of one partner has no other reader",
        ));
    }
    let mut rules = match before {
        Some(circle) if put.keep_rules => circle.rules.clone(),
        _ => Vec::new(),
    };
    for asked in put.rules {
        let rule = rule(asked, objects)?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    if rules.len() > RULES_MAX {
        return Err(Error::request(
            format!("circle {name:?} would have {} rules", rules.len()),
            format!("use at most {RULES_MAX}; one rule can name several objects"),
        ));
    }
    let old = |keep: bool| before.filter(|_| keep);
    Ok(Circle {
        id: before.map_or(CircleId::MESH_WIDE, |circle| circle.id),
        name: name.to_owned(),
        audience,
        rules,
        purpose: put
            .purpose
            .or_else(|| old(put.keep_rules).and_then(|circle| circle.purpose.clone())),
        until: put
            .until
            .or_else(|| old(put.keep_rules).and_then(|circle| circle.until)),
        history: put
            .history
            .unwrap_or_else(|| before.map(|circle| circle.history).unwrap_or_default()),
        on_end: put
            .on_end
            .unwrap_or_else(|| before.map(|circle| circle.on_end).unwrap_or_default()),
    })
}

/// A rule in the protocol's words. What it can never select is refused: a rule that does nothing hides a mistake.
fn rule(asked: RuleRequest, objects: &[LocalObject]) -> Result<Rule, Error> {
    if asked.kinds.is_empty() {
        return Err(Error::request(
            "a rule without a kind selects nothing",
            "add --kind resource, --kind capacity or --kind site",
        ));
    }
    for kind in &asked.kinds {
        if !SHARED_KINDS.contains(kind) {
            return Err(Error::request(
                format!("objects of kind {kind} are not shared by circles"),
                "use resource, capacity or site",
            ));
        }
    }
    let slots = match asked.slots {
        None => Slots::All,
        Some(names) => Slots::Only(names.into_iter().collect()),
    };
    if let Slots::Only(names) = &slots {
        let known: BTreeSet<&str> = asked
            .kinds
            .iter()
            .flat_map(|kind| kind.slots())
            .copied()
            .collect();
        if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
            let known: Vec<&str> = known.into_iter().collect();
            return Err(Error::request(
                format!("no selected kind has a slot {name:?}"),
                format!("use some of {}", known.join(", ")),
            ));
        }
    }
    let ids = |names: &[String], kinds: &[Kind]| -> Result<Vec<_>, Error> {
        let id = |name: &String| refs::object(objects, kinds, name).map(|object| object.id);
        names.iter().map(id).collect()
    };
    Ok(Rule {
        resources: ids(&asked.resources, &[Kind::Resource])?,
        ids: ids(&asked.objects, &asked.kinds)?,
        kinds: asked.kinds,
        process: asked.process,
        weeks: asked.weeks,
        slots,
    })
}

fn rule_view(rule: &Rule, objects: &[LocalObject]) -> RuleView {
    RuleView {
        kinds: rule.kinds.clone(),
        process: rule.process.clone(),
        resources: sharing::keys_of(&rule.resources, objects),
        objects: sharing::keys_of(&rule.ids, objects),
        weeks: rule.weeks,
        slots: RuleView::slots_of(&rule.slots),
    }
}

fn rule_text(rule: RuleView) -> RuleRequest {
    RuleRequest {
        kinds: rule.kinds,
        process: rule.process,
        resources: rule.resources,
        objects: rule.objects,
        weeks: rule.weeks,
        slots: rule.slots,
    }
}

/// A circle by its name, or the unique beginning of it.
fn choose<'a>(circles: &'a [Circle], name: &str) -> Result<&'a Circle, Error> {
    let candidates = circles.iter().map(|circle| refs::Candidate {
        item: circle,
        name: circle.name.clone(),
        id: circle.id.hex(),
        spelling: format!("{} ({})", circle.name, circle.id.hex()),
    });
    refs::choose("circle", name, candidates, "fmesh circle list")
}

/// Partners that an audience means today.
fn audience_sites(audience: &Audience, membership: &Membership, own: &SiteId) -> BTreeSet<SiteId> {
    match audience {
        Audience::MeshWide => {
            let sites = membership.members().map(|member| member.site);
            sites.filter(|site| site != own).collect()
        }
        Audience::Pairwise { to } => [*to].into(),
        Audience::Group { members } => members.clone(),
    }
}

/// Kinds that rules can select.
const SHARED_KINDS: [Kind; 3] = [Kind::Resource, Kind::Capacity, Kind::Site];
/// Rules of one circle: what a person can still read.
const RULES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use fmesh_proto::id::ObjectId;
    use jiff::civil::date;

    use super::*;

    fn objects() -> Vec<LocalObject> {
        let object = |kind, key: &str, byte| LocalObject {
            kind,
            id: ObjectId::from_random([byte; 16]),
            key: key.to_owned(),
            fields: std::collections::BTreeMap::new(),
            retired: false,
            updated: 0,
        };
        vec![
            object(Kind::Resource, "MILL", 1),
            object(Kind::Capacity, "MILL", 2),
        ]
    }

    fn words(request: serde_json::Value) -> RuleRequest {
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn words_become_a_rule_and_are_shown_again() {
        let objects = objects();
        let asked = words(
            serde_json::json!({"kinds": ["capacity"], "objects": ["mill"],
            "resources": ["MILL"], "weeks": 12, "slots": ["name", "available"]}),
        );
        let rule = rule(asked.clone(), &objects).unwrap();
        assert_eq!(
            rule.ids,
            [objects[1].id],
            "only kinds that the rule selects are meant"
        );
        assert_eq!(rule.resources, [objects[0].id]);
        let shown = rule_view(&rule, &objects);
        assert_eq!(shown.objects, ["MILL"]);
        assert_eq!(shown.slots.unwrap(), ["available", "name"]);
    }

    #[test]
    fn a_rule_that_could_do_nothing_is_refused() {
        for (request, says) in [
            (serde_json::json!({}), "without a kind"),
            (serde_json::json!({"kinds": ["grant"]}), "kind grant"),
            (
                serde_json::json!({"kinds": ["site"], "slots": ["available"]}),
                "\"available\"",
            ),
            (
                serde_json::json!({"kinds": ["site"], "resources": ["LATHE"]}),
                "\"LATHE\"",
            ),
        ] {
            let refused = rule(words(request), &objects()).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn rules_are_replaced_or_added_to() {
        let objects = objects();
        let put = |keep_rules, kind: Kind| CirclePut {
            keep_rules,
            rules: vec![RuleRequest {
                kinds: vec![kind],
                ..RuleRequest::default()
            }],
            ..CirclePut::default()
        };
        let new = after("all", None, None, put(false, Kind::Site), &objects);
        assert!(new.unwrap_err().to_string().contains("needs an audience"));
        let mut first = after(
            "all",
            None,
            Some(Audience::MeshWide),
            put(false, Kind::Site),
            &objects,
        )
        .unwrap();
        first.purpose = Some("sales".to_owned());
        first.until = Some(date(2027, 1, 1));
        let both = after(
            "all",
            Some(&first),
            None,
            put(true, Kind::Resource),
            &objects,
        )
        .unwrap();
        assert_eq!(
            (both.rules.len(), &both.purpose, both.until),
            (2, &first.purpose, first.until)
        );
        let again = after(
            "all",
            Some(&both),
            None,
            put(true, Kind::Resource),
            &objects,
        )
        .unwrap();
        assert_eq!(again.rules, both.rules, "the same rule is kept once");
        let replaced = after(
            "all",
            Some(&both),
            None,
            put(false, Kind::Capacity),
            &objects,
        )
        .unwrap();
        assert_eq!(replaced.rules.len(), 1);
        assert_eq!((replaced.purpose, replaced.until), (None, None));
        for name in ["", " x", "x ", &"x".repeat(201)] {
            assert!(after(name, Some(&both), None, put(false, Kind::Site), &objects).is_err());
        }
    }
}
