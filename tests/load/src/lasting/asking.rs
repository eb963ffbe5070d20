//! How a server is asked: again while no server can answer, and several times so that more than one
//! node does.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::ApiError;
use crate::options::LastingOptions;
use crate::report::Verdict;

/// The wait between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// What one answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Right,
    /// Nobody could answer.
    Unknown(String),
    Wrong(String),
}

impl Found {
    /// What an error says.
    pub(crate) fn from_error(error: &ApiError) -> Self {
        let text = match &error.version {
            Some(version) => format!("{error} (X-Version-Id {version})"),
            None => error.to_string(),
        };
        if error.is_passing() {
            Self::Unknown(text)
        } else {
            Self::Wrong(text)
        }
    }
}

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    samples: u32,
    patience: Duration,
    /// The wait between two tries.
    pause: Duration,
    /// Whether a wrong answer may become a right one.
    may_change: bool,
}

impl Asking {
    /// A wrong answer may still become right.
    pub(crate) fn patient(options: &LastingOptions) -> Self {
        Self {
            samples: options.samples.max(1),
            patience: options.patience,
            pause: PAUSE,
            may_change: true,
        }
    }

    /// A wrong answer is final.
    pub(crate) fn strict(options: &LastingOptions) -> Self {
        Self {
            may_change: false,
            ..Self::patient(options)
        }
    }

    /// Asks until all samples in a row are right, one is finally wrong, or the patience is used up.
    pub(crate) async fn verdict<F>(self, ask: impl Fn() -> F) -> Verdict
    where
        F: Future<Output = Found>,
    {
        let until = Instant::now() + self.patience;
        let mut right = 0;
        loop {
            let why = match ask().await {
                Found::Right => {
                    right += 1;
                    if right >= self.samples {
                        return Verdict::Kept;
                    }
                    continue;
                }
                Found::Wrong(why) if !self.may_change => return Verdict::Broken(why),
                Found::Wrong(why) | Found::Unknown(why) => why,
            };
            right = 0;
            if Instant::now() + self.pause > until {
                return Verdict::Broken(why);
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// A call that is safe to repeat, tried again while no server can answer.
    pub(crate) async fn insist<T, F>(self, call: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        self.insist_while(ApiError::is_passing, call).await
    }

    /// A call that is safe to repeat, tried again while its error is one that passes.
    pub(crate) async fn insist_while<T, F>(
        self,
        passes: fn(&ApiError) -> bool,
        call: impl Fn() -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let until = Instant::now() + self.patience;
        loop {
            match call().await {
                Err(error) if passes(&error) && Instant::now() + self.pause <= until => {
                    tokio::time::sleep(self.pause).await;
                }
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The verdict on these answers, one after the other, and how many were asked for.
    async fn verdict(may_change: bool, answers: &[Found]) -> (Verdict, usize) {
        let asking = Asking {
            samples: 2,
            patience: Duration::from_millis(50),
            pause: Duration::from_millis(1),
            may_change,
        };
        let next = Mutex::new(answers.iter().cycle());
        let asked = Mutex::new(0);
        let verdict = asking
            .verdict(|| async {
                *asked.lock().unwrap() += 1;
                next.lock().unwrap().next().unwrap().clone()
            })
            .await;
        let asked = *asked.lock().unwrap();
        (verdict, asked)
    }

    #[tokio::test]
    async fn right_means_right_in_a_row() {
        let wrong = || Found::Wrong("other".to_owned());
        let unknown = || Found::Unknown("503".to_owned());
        let broken = |why: &str| Verdict::Broken(why.to_owned());
        assert_eq!(verdict(false, &[Found::Right]).await, (Verdict::Kept, 2));
        let right = Found::Right;
        let passing = [unknown(), right.clone(), right.clone()];
        assert_eq!(verdict(false, &passing).await, (Verdict::Kept, 3));
        let mixed = [right.clone(), wrong()];
        assert_eq!(verdict(false, &mixed).await, (broken("other"), 2));
        let (found, asked) = verdict(true, &mixed).await;
        assert_eq!(found, broken("other"), "every other node is wrong for ever");
        assert!(asked > 2);
        let later = [wrong(), right.clone(), right];
        assert_eq!(verdict(true, &later).await, (Verdict::Kept, 3));
        assert_eq!(verdict(false, &[unknown()]).await.0, broken("503"));
    }
}
