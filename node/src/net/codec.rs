//! Frames of the call protocols: four bytes of length (big endian), then one protobuf message.
//!
//! The length is announced so that a stream that was cut is not taken for a shorter message. A reader refuses a length above
//! its limit before it reads on, and allocates by what arrived. A writer sends a frame in one piece. An error ends the
//! call and nothing else: the connection stays. A request that is none is handed over as a [`Fault`], so that its sender can be
//! blamed: libp2p tells nobody of a request that cannot be read. A stream that makes no progress is given up after [`STALLED`],
//! so that nobody holds one open by saying nothing or by reading nothing. What the messages mean is not known here.

use std::{fmt, io, marker::PhantomData, time::Duration};

use fmesh_proto::{
    limits::{JOIN_ANSWER_BYTES_MAX, JOIN_MESSAGE_BYTES_MAX, SYNC_MESSAGE_BYTES_MAX},
    wire,
};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{StreamProtocol, request_response};
use prost::Message;
use tokio::time::timeout;

/// Calls between members.
pub(crate) const SYNC_PROTOCOL: StreamProtocol = StreamProtocol::new("/fmesh/sync/1");
/// A stranger asks the inviter itself.
pub(crate) const JOIN_PROTOCOL: StreamProtocol = StreamProtocol::new("/fmesh/join/1");
/// A stranger asks a relay to pass its request on. This and the one above is all that a stranger may speak.
pub(crate) const THROUGH_PROTOCOL: StreamProtocol = StreamProtocol::new("/fmesh/join-through/1");
/// Between a relay and a member behind it.
pub(crate) const DOOR_PROTOCOL: StreamProtocol = StreamProtocol::new("/fmesh/door/1");

/// Codec of `/fmesh/sync/1`.
pub(crate) type SyncCodec = Frames<wire::Request, wire::Response>;
/// Codec of `/fmesh/join/1`.
pub(crate) type JoinCodec = Frames<wire::JoinRequest, wire::JoinAnswer>;
/// Codec of `/fmesh/join-through/1`.
pub(crate) type ThroughCodec = Frames<wire::PassOn, wire::JoinAnswer>;
/// Codec of `/fmesh/door/1`.
pub(crate) type DoorCodec = Frames<wire::DoorRequest, wire::JoinAnswer>;

/// How a stream was not a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What it said is no message, or too long: why.
    Nonsense(String),
    /// It ended within a message.
    Cut,
    /// It stayed open and said nothing more. A line that was cut looks the same.
    Stalled,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nonsense(why) => write!(f, "sent a call that is none: {why}"),
            Self::Cut => f.write_str("sent a call that is none: it ends within the message"),
            Self::Stalled => f.write_str("opened a stream, and did not say what for"),
        }
    }
}

/// Nothing of an answer was read for too long. A line that was cut looks the same.
#[derive(Debug, thiserror::Error)]
#[error("nothing of the answer was read for {} s", STALLED.as_secs())]
pub(crate) struct NotRead;

/// Reads and writes the frames of one call. libp2p clones it per stream, so it may remember the request for its answer.
#[derive(Debug)]
pub(crate) struct Frames<Q, A> {
    request_max: usize,
    answer_max: fn(&Q) -> usize,
    /// Limit of the answer to the request that passed on this stream.
    expected_max: usize,
    /// [`STALLED`], but in tests.
    patience: Duration,
    messages: PhantomData<fn() -> (Q, A)>,
}

impl SyncCodec {
    /// Membership answers carry every membership record; other answers are small.
    pub(crate) const fn sync() -> Self {
        Self::new(SYNC_MESSAGE_BYTES_MAX, |request| match request.what {
            Some(wire::request::What::Membership(_)) => JOIN_ANSWER_BYTES_MAX,
            _ => SYNC_MESSAGE_BYTES_MAX,
        })
    }
}

impl JoinCodec {
    /// A stranger's request is small, the answer carries the mesh's membership records.
    pub(crate) const fn join() -> Self {
        Self::new(JOIN_MESSAGE_BYTES_MAX, |_| JOIN_ANSWER_BYTES_MAX)
    }
}

impl ThroughCodec {
    /// A request to join with its frame.
    pub(crate) const fn through() -> Self {
        Self::new(PASSED_BYTES_MAX, |_| JOIN_ANSWER_BYTES_MAX)
    }
}

impl DoorCodec {
    /// The same from the other side.
    pub(crate) const fn door() -> Self {
        Self::new(PASSED_BYTES_MAX, |_| JOIN_ANSWER_BYTES_MAX)
    }
}

impl<Q, A> Frames<Q, A> {
    const fn new(request_max: usize, answer_max: fn(&Q) -> usize) -> Self {
        Self {
            request_max,
            answer_max,
            expected_max: 0,
            patience: STALLED,
            messages: PhantomData,
        }
    }
}

impl<Q, A> Clone for Frames<Q, A> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<Q, A> request_response::Codec for Frames<Q, A>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    type Protocol = StreamProtocol;
    type Request = Result<Q, Fault>;
    type Response = A;

    async fn read_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Result<Q, Fault>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let request: Q = match timeout(self.patience, read(io, self.request_max)).await {
            Err(_) => return Ok(Err(Fault::Stalled)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Ok(Err(Fault::Nonsense(error.to_string())));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Err(Fault::Cut));
            }
            Ok(request) => request?,
        };
        self.expected_max = (self.answer_max)(&request);
        Ok(Ok(request))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<A>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.expected_max).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Result<Q, Fault>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let request = request.map_err(|fault| invalid(fault.to_string()))?;
        self.expected_max = (self.answer_max)(&request);
        io.write_all(&frame(&request, self.request_max)?).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: A,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let bytes = frame(&answer, self.expected_max)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = timeout(self.patience, io.write(rest))
                .await
                .map_err(not_read)??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        timeout(self.patience, io.flush()).await.map_err(not_read)?
    }
}

fn not_read(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::other(NotRead)
}

/// A message with its length in front.
fn frame<M: Message>(message: &M, max: usize) -> io::Result<Vec<u8>> {
    let len = message.encoded_len();
    if len > max {
        return Err(invalid(format!(
            "a message of {len} bytes is too large to send; at most {max} are read"
        )));
    }
    let announced = u32::try_from(len).map_err(|_| invalid("a message of 4 GiB".to_owned()))?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + len);
    bytes.extend(announced.to_be_bytes());
    message.encode_raw(&mut bytes);
    Ok(bytes)
}

async fn read<T, M>(io: &mut T, max: usize) -> io::Result<M>
where
    T: AsyncRead + Unpin + Send,
    M: Message + Default,
{
    let mut length = [0; LENGTH_BYTES];
    if io.read(&mut length[..1]).await? == 0 {
        // Whoever changed its mind before it said anything did no wrong.
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    io.read_exact(&mut length[1..]).await?;
    let announced = u32::from_be_bytes(length);
    if usize::try_from(announced).map_or(true, |len| len > max) {
        return Err(invalid(format!(
            "a message of {announced} bytes was announced; at most {max} are read"
        )));
    }
    let mut bytes = Vec::new();
    let read = io.take(announced.into()).read_to_end(&mut bytes).await?;
    if read as u64 != u64::from(announced) {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the message ended after {read} of {announced} bytes"),
        ));
    }
    M::decode(bytes.as_slice()).map_err(|error| invalid(error.to_string()))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A request is here within this time, and of an answer something is read in every such span, or the call has ended.
/// Longer than the time between two pings, so that a line that was cut is told from a peer that is there and does nothing.
pub(crate) const STALLED: Duration = Duration::from_secs(12);
/// A request to join, with the key and the frames around it.
const PASSED_BYTES_MAX: usize = JOIN_MESSAGE_BYTES_MAX + 64;
/// Bytes of the length in front of a message.
const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::io::Cursor;
    use libp2p::request_response::Codec as _;
    use proptest::prelude::*;

    use super::*;

    fn heads(digest: Vec<u8>) -> wire::Request {
        wire::Request {
            what: Some(wire::request::What::Heads(wire::HeadsRequest {
                digest,
                feed: Vec::new(),
                ..wire::HeadsRequest::default()
            })),
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(future)
    }

    /// A stream that neither brings nor takes anything after its first bytes.
    struct Stuck(Cursor<Vec<u8>>);

    impl AsyncRead for Stuck {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            match Pin::new(&mut self.0).poll_read(cx, buffer) {
                Poll::Ready(Ok(0)) => Poll::Pending,
                other => other,
            }
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn what_is_no_call_is_named_and_who_changed_its_mind_is_not() {
        let whole = frame(&heads(vec![7; 32]), 1_000).expect("small");
        let asked = |bytes: Vec<u8>| {
            let mut codec = SyncCodec::sync();
            block_on(codec.read_request(&SYNC_PROTOCOL, &mut Cursor::new(bytes)))
        };
        assert_eq!(asked(whole.clone()).expect("whole"), Ok(heads(vec![7; 32])));
        for cut in 1..whole.len() {
            assert_eq!(
                asked(whole[..cut].to_vec()).expect("heard"),
                Err(Fault::Cut)
            );
        }
        for nonsense in [vec![0xff; 64], vec![0, 0, 0, 2, 0xff, 0xff]] {
            let fault = asked(nonsense).expect("heard");
            assert!(matches!(fault, Err(Fault::Nonsense(_))), "{fault:?}");
        }
        assert!(asked(Vec::new()).is_err(), "nothing was said");
    }

    fn impatient() -> SyncCodec {
        SyncCodec {
            patience: Duration::from_millis(50),
            ..SyncCodec::sync()
        }
    }

    #[test]
    fn a_stream_that_stands_still_is_given_up_on_both_ways() {
        let whole = frame(&heads(vec![7; 32]), 1_000).expect("small");
        for said in [0, 1, 9] {
            let mut stuck = Stuck(Cursor::new(whole[..said].to_vec()));
            let mut codec = impatient();
            let heard = block_on(codec.read_request(&SYNC_PROTOCOL, &mut stuck));
            assert_eq!(heard.expect("heard"), Err(Fault::Stalled));
        }
        let mut codec = impatient();
        let mut stuck = Stuck(Cursor::new(whole));
        block_on(codec.read_request(&SYNC_PROTOCOL, &mut stuck))
            .expect("heard")
            .expect("whole");
        let error =
            block_on(codec.write_response(&SYNC_PROTOCOL, &mut stuck, wire::Response::default()))
                .expect_err("nobody reads");
        assert!(
            error.get_ref().is_some_and(|e| e.is::<NotRead>()),
            "{error}"
        );
    }

    fn read_bytes(bytes: &[u8], max: usize) -> io::Result<wire::Request> {
        block_on(read(&mut Cursor::new(bytes), max))
    }

    #[test]
    fn refuses_what_is_too_long_or_cut() {
        let whole = frame(&heads(vec![7; 32]), 1_000).expect("small");
        assert_eq!(
            read_bytes(&whole, 1_000).expect("whole"),
            heads(vec![7; 32])
        );
        for cut in 1..whole.len() {
            let error = read_bytes(&whole[..cut], 1_000).expect_err("cut");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        assert!(read_bytes(&whole, 35).is_err(), "one byte over the limit");
        assert!(read_bytes(&[0xff; 64], SYNC_MESSAGE_BYTES_MAX).is_err());
        assert!(frame(&heads(vec![0; 100]), 100).is_err());
    }

    #[test]
    fn only_a_membership_answer_may_be_large() {
        let large = wire::Response {
            what: Some(wire::response::What::Membership(wire::MembershipResponse {
                view: vec![vec![b'a'; SYNC_MESSAGE_BYTES_MAX]],
                more: false,
            })),
        };
        let membership = wire::Request {
            what: Some(wire::request::What::Membership(
                wire::MembershipRequest::default(),
            )),
        };
        for (request, fits) in [(membership, true), (heads(Vec::new()), false)] {
            let mut codec = SyncCodec::sync();
            block_on(async {
                let mut sent = Vec::new();
                codec
                    .write_request(&SYNC_PROTOCOL, &mut sent, Ok(request))
                    .await
                    .expect("small");
                let mut server = SyncCodec::sync();
                server
                    .read_request(&SYNC_PROTOCOL, &mut Cursor::new(sent))
                    .await
                    .expect("heard")
                    .expect("whole");
                let mut answer = Vec::new();
                let written = server
                    .write_response(&SYNC_PROTOCOL, &mut answer, large.clone())
                    .await;
                assert_eq!(written.is_ok(), fits, "{written:?}");
                let bytes = frame(&large, JOIN_ANSWER_BYTES_MAX).expect("fits");
                let read = codec
                    .read_response(&SYNC_PROTOCOL, &mut Cursor::new(bytes))
                    .await;
                assert_eq!(read.is_ok(), fits);
            });
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_bytes(&bytes, SYNC_MESSAGE_BYTES_MAX);
            let mut framed = u32::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
            framed.extend(&bytes);
            if let Ok(request) = read_bytes(&framed, SYNC_MESSAGE_BYTES_MAX) {
                let again = frame(&request, SYNC_MESSAGE_BYTES_MAX).expect("not larger");
                prop_assert_eq!(read_bytes(&again, SYNC_MESSAGE_BYTES_MAX).expect("ours"), request);
            }
        }
    }
}
