//! [`Builder`]: which tier, when the fastest usable one is not what is wanted.

use crate::{Error, Kernels, Tier};

/// Chooses a tier by more than what the machine can run. Made by [`Kernels::builder`].
///
/// ```
/// use kinglet_kernels::{Kernels, Tier};
/// // No AVX-512, wherever it runs, and no say for the environment.
/// let k = Kernels::builder().cap(Tier::AvxVnni).ignore_environment().build()?;
/// assert_ne!(k.tier(), Tier::Avx512Vnni);
/// # Ok::<(), kinglet_kernels::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    x86_64: Option<Tier>,
    aarch64: Option<Tier>,
    scalar: bool,
    exact: Option<Tier>,
    ignore_environment: bool,
}

impl Builder {
    /// No tier beyond `tier` in the order of [`Tier::ALL`]. It limits `tier`'s architecture only, so a program can give
    /// one cap for each; [`Tier::Scalar`] limits all.
    #[must_use]
    pub fn cap(mut self, tier: Tier) -> Builder {
        match tier.arch() {
            Some("x86_64") => self.x86_64 = Some(tier),
            Some(_) => self.aarch64 = Some(tier),
            None => self.scalar = true,
        }
        self
    }

    /// Exactly `tier`, whatever the environment says.
    #[must_use]
    pub fn exact(mut self, tier: Tier) -> Builder {
        self.exact = Some(tier);
        self
    }

    /// `KINGLET_TIER` is not read.
    #[must_use]
    pub fn ignore_environment(mut self) -> Builder {
        self.ignore_environment = true;
        self
    }

    /// Whether the caps allow `tier`.
    fn allows(&self, tier: Tier) -> bool {
        match tier.arch() {
            Some("x86_64") => !self.scalar && self.x86_64.is_none_or(|cap| tier <= cap),
            Some(_) => !self.scalar && self.aarch64.is_none_or(|cap| tier <= cap),
            None => true,
        }
    }

    /// The kernels: of the exact tier, else of the one that `KINGLET_TIER` names, else of the fastest usable one within the
    /// caps.
    ///
    /// # Errors
    /// [`Error::UnknownTier`] or [`Error::UnusableTier`] when the exact tier or that of `KINGLET_TIER` does not exist, cannot run
    /// here, or is beyond the caps. It is never silently replaced.
    pub fn build(self) -> Result<Kernels, Error> {
        if let Some(tier) = self.exact {
            return self.allowed(tier);
        }
        let forced = if self.ignore_environment { None } else { Tier::forced()? };
        match forced {
            Some(tier) => self.allowed(tier).map_err(Error::of_environment),
            None => Kernels::with_tier(Tier::fastest(|t| self.allows(t))),
        }
    }

    /// The kernels of `tier`, if the caps allow it.
    fn allowed(self, tier: Tier) -> Result<Kernels, Error> {
        if !self.allows(tier) {
            return Err(tier.unusable("this program does not allow it (a cap on tiers)"));
        }
        Kernels::with_tier(tier)
    }
}
