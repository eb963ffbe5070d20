//! Enrolment as the corpus drives it.

use fleet_proto::v1;
use fleet_proto::v1::enrolment_client::EnrolmentClient;
use rcgen::KeyPair;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::forge::Attempt;
use super::stage::Stage;
use super::{Case, Heard, How};

/// An attempt from this machine's address, with its credentials.
pub struct Enrol {
    pub from: &'static str,
    /// Before it is signed.
    pub change: fn(&Stage, &mut Attempt),
    /// Afterwards.
    pub tamper: fn(&Stage, &mut v1::EnrollAnswer),
    /// Afterwards, the signed request alone.
    pub bend: fn(&mut v1::SignedRequest),
}

/// Nothing is changed.
pub fn honest_from(from: &'static str) -> Enrol {
    Enrol {
        from,
        change: |_, _| {},
        tamper: |_, _| {},
        bend: |_| {},
    }
}

/// A change that is signed.
pub fn signed(name: &'static str, check: &'static str, change: fn(&Stage, &mut Attempt)) -> Case {
    from("ann", name, check, change)
}

/// The same from another machine.
pub fn from(
    from: &'static str,
    name: &'static str,
    check: &'static str,
    change: fn(&Stage, &mut Attempt),
) -> Case {
    Case {
        name,
        check,
        attack: How::Enrol(Enrol {
            from,
            change,
            tamper: |_, _| {},
            bend: |_| {},
        }),
    }
}

/// A change to what was signed.
pub fn tampered(name: &'static str, check: &'static str, bend: fn(&mut v1::SignedRequest)) -> Case {
    Case {
        name,
        check,
        attack: How::Enrol(Enrol {
            from: "ann",
            change: |_, _| {},
            tamper: |_, _| {},
            bend,
        }),
    }
}

/// Both.
pub fn answered(
    name: &'static str,
    check: &'static str,
    change: fn(&Stage, &mut Attempt),
    tamper: fn(&Stage, &mut v1::EnrollAnswer),
) -> Case {
    Case {
        name,
        check,
        attack: How::Enrol(Enrol {
            from: "ann",
            change,
            tamper,
            bend: |_| {},
        }),
    }
}

/// An open enrolment, its nonce received.
pub struct Dialogue {
    pub nonce: Vec<u8>,
    /// Dropped first: hanging up is another thing than to end without an answer.
    steps: Streaming<v1::EnrollStep>,
    /// None: no more will be said.
    pub answers: Option<mpsc::Sender<v1::EnrollAnswer>>,
}

impl Dialogue {
    pub async fn open(channel: Channel) -> Result<Self, Status> {
        let (answers, receiver) = mpsc::channel(1);
        let mut client = EnrolmentClient::new(channel);
        let mut steps = client
            .enroll(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let step = steps.message().await?.and_then(|step| step.step);
        let Some(v1::enroll_step::Step::Challenge(challenge)) = step else {
            panic!("the first step is no challenge: {step:?}");
        };
        assert_eq!(challenge.nonce.len(), 32);
        Ok(Self {
            nonce: challenge.nonce,
            answers: Some(answers),
            steps,
        })
    }

    pub async fn answer(&mut self, answer: v1::EnrollAnswer) -> Result<v1::Certificate, Status> {
        if let Some(answers) = &self.answers {
            let _ = answers.send(answer).await;
        }
        self.verdict().await
    }

    pub async fn verdict(&mut self) -> Result<v1::Certificate, Status> {
        match self.steps.message().await?.and_then(|step| step.step) {
            Some(v1::enroll_step::Step::Certificate(certificate)) => Ok(certificate),
            other => panic!("neither certificate nor refusal: {other:?}"),
        }
    }
}

/// What came of an attempt that must fail.
pub fn heard(verdict: Result<v1::Certificate, Status>) -> Heard {
    Heard::Refusal(verdict.expect_err("an attacker got a certificate"))
}

impl Stage {
    pub async fn enrol(&self, enrol: &Enrol) -> Heard {
        let machine = self.machine(enrol.from);
        let channel = self.world.anonymous_from(Some(machine.address)).await;
        let mut dialogue = match Dialogue::open(channel.unwrap()).await {
            Ok(dialogue) => dialogue,
            Err(status) => return Heard::Refusal(status),
        };
        self.note_nonce(&dialogue.nonce);
        let key = KeyPair::generate().unwrap();
        let mut attempt = Attempt::honest(machine, key, &dialogue.nonce);
        (enrol.change)(self, &mut attempt);
        let mut answer = attempt.answer();
        (enrol.tamper)(self, &mut answer);
        if let Some(identity) = &mut answer.identity {
            (enrol.bend)(identity);
        }
        heard(dialogue.answer(answer).await)
    }
}
