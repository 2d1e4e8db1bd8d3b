//! Frames of the two call protocols: four bytes of length (big endian), then one protobuf message.
//!
//! The length is announced so that a stream that was cut is not taken for a shorter message. A reader refuses a length above
//! its limit before it reads on, and allocates by what arrived. A writer sends a frame in one piece. An error ends the
//! call and nothing else: the connection stays. A request that is none is read as an empty one, which no honest node sends, so that
//! its sender can be blamed. What the messages mean is not known here.

use std::{io, marker::PhantomData};

use fmesh_proto::{
    limits::{JOIN_ANSWER_BYTES_MAX, JOIN_MESSAGE_BYTES_MAX, SYNC_MESSAGE_BYTES_MAX},
    wire,
};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{StreamProtocol, request_response};
use prost::Message;

/// Calls between members.
pub(crate) const SYNC_PROTOCOL: StreamProtocol = StreamProtocol::new("/fmesh/sync/1");
/// The only protocol that a stranger may speak.
pub(crate) const JOIN_PROTOCOL: StreamProtocol = StreamProtocol::new("/fmesh/join/1");

/// Codec of `/fmesh/sync/1`.
pub(crate) type SyncCodec = Frames<wire::Request, wire::Response>;
/// Codec of `/fmesh/join/1`.
pub(crate) type JoinCodec = Frames<wire::JoinRequest, wire::JoinAnswer>;

/// Reads and writes the frames of one call. libp2p clones it per stream, so it may remember the request for its answer.
#[derive(Debug)]
pub(crate) struct Frames<Q, A> {
    request_max: usize,
    answer_max: fn(&Q) -> usize,
    /// Limit of the answer to the request that passed on this stream.
    expected_max: usize,
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

impl<Q, A> Frames<Q, A> {
    const fn new(request_max: usize, answer_max: fn(&Q) -> usize) -> Self {
        Self {
            request_max,
            answer_max,
            expected_max: 0,
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
    type Request = Q;
    type Response = A;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Q>
    where
        T: AsyncRead + Unpin + Send,
    {
        let request = match read(io, self.request_max).await {
            // libp2p tells nobody of a request that cannot be read. An empty one says the same and names its sender.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Q::default(),
            request => request?,
        };
        self.expected_max = (self.answer_max)(&request);
        Ok(request)
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
        request: Q,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
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
        io.write_all(&frame(&answer, self.expected_max)?).await
    }
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
    io.read_exact(&mut length).await?;
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

/// Bytes of the length in front of a message.
const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};
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
        for cut in 0..whole.len() {
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
                    .write_request(&SYNC_PROTOCOL, &mut sent, request)
                    .await
                    .expect("small");
                let mut server = SyncCodec::sync();
                server
                    .read_request(&SYNC_PROTOCOL, &mut Cursor::new(sent))
                    .await
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
