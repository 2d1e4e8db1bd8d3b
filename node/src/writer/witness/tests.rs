use fmesh_proto::{
    audit::fork::ForkProof,
    circle::Audience,
    mesh::follow::Incoming,
    note::{Checkpoint, Cosignature},
    wire::response::What,
};

use super::super::plant::{Plant, circle, resource, three};
use crate::store::KeptCheckpoint;

/// The newest checkpoint of a site, as it signed it.
fn newest(site: &Plant) -> Checkpoint {
    let head = site.store.head(&site.site).expect("reads");
    head.expect("it has signed something").checkpoint
}

/// What a witness answers: its cosignature, or how far it is.
async fn asks(witness: &Plant, of: &Plant, checkpoint: &Checkpoint) -> Result<Cosignature, u64> {
    let answer = witness.writer.cosign(of.site, Box::new(checkpoint.clone()));
    match answer.await.expect("answers").what {
        Some(What::Cosign(answer)) if answer.line.is_empty() => Err(answer.size),
        Some(What::Cosign(answer)) => {
            let line = String::from_utf8(answer.line).expect("text");
            Ok(Cosignature::parse(&line).expect("a line"))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pledge_outlives_the_process_that_made_it() {
    let (a, b, _, _) = three().await;
    a.apply(vec![circle("all", Audience::MeshWide), resource("one")])
        .await;
    let small = newest(&a);
    assert_eq!(
        asks(&b, &a, &small).await,
        Err(small.size() - 1),
        "not followed so far"
    );
    b.hears(&a).await;
    a.apply(vec![resource("two")]).await;
    let large = newest(&a);
    b.hears(&a).await;
    let first = asks(&b, &a, &large).await.expect("followed");
    assert_eq!(
        asks(&b, &a, &small).await,
        Err(large.size()),
        "a larger one was cosigned"
    );
    // It ends before anybody got the answer; the next process is bound by it all the same.
    let b = b.restarted(|_| {});
    assert_eq!(asks(&b, &a, &small).await, Err(large.size()));
    assert_eq!(
        asks(&b, &a, &large).await.expect("again"),
        first,
        "the same again"
    );
    let held = b.store.pledge(&a.site).expect("reads").expect("stored");
    assert_eq!((held.size, held.time), (large.size(), first.time()));
}

#[tokio::test]
async fn a_removed_site_and_a_stranger_get_no_cosignature() {
    let (a, b, c, _) = three().await;
    let checkpoint = newest(&c);
    let gone = super::super::Edit::Remove {
        site: c.site,
        last_good: None,
        reason: None,
    };
    a.apply(vec![gone]).await;
    b.hears(&a).await;
    for (site, of) in [
        (c.site, &checkpoint),
        (fmesh_proto::id::SiteId([9; 32]), &checkpoint),
    ] {
        let answer = b
            .writer
            .cosign(site, Box::new(of.clone()))
            .await
            .expect("answers");
        let Some(What::Refusal(refusal)) = answer.what else {
            panic!("{answer:?}")
        };
        assert_eq!(refusal.code, "not-a-member");
    }
}

#[tokio::test]
async fn a_proof_is_kept_and_ends_cosigning_and_proofs_are_few() {
    let (a, b, _, _) = three().await;
    a.apply(vec![circle("all", Audience::MeshWide), resource("one")])
        .await;
    b.hears(&a).await;
    let checkpoint = newest(&a);
    let mesh = a.store.meta().expect("reads").mesh.expect("founded");
    let origin = Checkpoint::origin_of(&mesh, &a.site);
    let lies: Vec<Checkpoint> = (0..20)
        .map(|n| {
            let root = fmesh_proto::id::Digest([n; 32]);
            Checkpoint::sign(&origin, checkpoint.size(), root, a.keys.log())
        })
        .collect();
    let answer = b.writer.cosign(a.site, Box::new(lies[0].clone()));
    let Some(What::Refusal(refusal)) = answer.await.expect("answers").what else {
        panic!("cosigned")
    };
    assert_eq!(refusal.code, "forked");
    let kept = b.store.forks(Some(&a.site)).expect("reads");
    assert_eq!(kept.len(), 1);
    let fork = ForkProof::decode(&kept[0].text).and_then(|proof| proof.verify());
    assert_eq!(fork.expect("holds").site, Some(a.site));
    // From then on nothing of this log is cosigned, and of many proofs the first are kept.
    let answer = b.writer.cosign(a.site, Box::new(checkpoint.clone()));
    let refused = answer.await.expect("answers").what;
    assert!(matches!(refused, Some(What::Refusal(_))), "{refused:?}");
    let keys = [a.manifest.clone()];
    for lie in &lies {
        let proof = Box::new(ForkProof::same_size(&keys, &checkpoint, lie));
        let site = a.site;
        let incoming = Incoming::Fork { site, proof };
        b.writer.take(1, incoming).await.expect("taken");
    }
    b.settled().await;
    let kept = b.store.forks(None).expect("reads");
    assert_eq!(kept.len(), fmesh_proto::limits::FORKS_PER_SITE_MAX);
    assert_eq!(b.store.forked().expect("reads"), [a.site]);
    assert_eq!(b.store.check(Some(&b.site)).expect("walks"), []);
}

#[tokio::test]
async fn of_cosigned_checkpoints_the_newest_version_stays() {
    let (a, b, c, _) = three().await;
    let mesh = a.store.meta().expect("reads").mesh.expect("founded");
    let bare = newest(&a);
    let by = |witness: &Plant, note: &Checkpoint| {
        let name = Cosignature::name_of(&mesh, &witness.site);
        let line = Cosignature::sign(&bare, &name, 7, witness.keys.witness()).expect("signs");
        note.with_cosignature(&line).expect("fits")
    };
    let (one, both) = (by(&c, &bare), by(&a, &by(&c, &bare)));
    for (checkpoint, count, stays) in [(&one, 1, 1), (&both, 2, 2), (&one, 1, 2)] {
        let incoming = Incoming::Checkpoint {
            site: a.site,
            checkpoint: checkpoint.clone(),
            by: count,
        };
        b.writer.take(1, incoming).await.expect("taken");
        b.settled().await;
        let kept: Vec<KeptCheckpoint> = b.store.cosigned(&a.site).expect("reads");
        assert_eq!(kept.iter().map(|kept| kept.by).collect::<Vec<_>>(), [stays]);
    }
    let versions = b.store.cosigned_versions().expect("reads");
    assert_eq!(versions, [(a.site, bare.size(), 2)]);
    assert_eq!(b.store.check(Some(&b.site)).expect("walks"), []);
}
