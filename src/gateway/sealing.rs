//! Codes that a coordinator's grants ask for: made here, sealed for the terminal, told once hostapd takes them.
//!
//! The coordinator gets the sealed code only. It is acknowledged after that: a coordinator that has an acknowledgement
//! and no code knows that the answer is lost.

use super::codes::Untold;
use super::effects::Gateway;
use crate::logic::grants;
use crate::logic::upstream;
use crate::model::{
    BootTime, Bssid, Cause, Code, CodeAsk, GrantId, GrantSpec, Holder, Incarnation, Origin, Refusal,
    SealedCode,
};
use crate::wire::gateway::{CodeAnswer, FromGateway};
use crate::wire::seal::{Binding, OfferedTo, seal};
use crate::wire::sign::random;

/// A code that hostapd is being told.
pub(super) struct Making {
    incarnation: Incarnation,
    /// The access point that it opens.
    bssid: Bssid,
    /// The notice that asks for it.
    seq: u64,
    sealed: SealedCode,
}

impl Gateway {
    /// A grant that asks for a code: makes one, or refuses and opens nothing.
    pub fn make_code(&mut self, spec: GrantSpec, seq: u64, now: BootTime) {
        let GrantSpec { id, incarnation, holder, quota, .. } = spec;
        if self.grants.is_settled(id, Origin::Coordinator, incarnation) {
            // Late: a later join was granted already. Or it is the owner's grant.
            return self.code_answered(seq);
        }
        if let Some(before) = self.making.remove(&id) {
            self.code_answered(before.seq);
        }
        match self.seal_code(&spec) {
            Ok((code, bssid, sealed)) => {
                self.passwords.bind(id, spec.station);
                self.making.insert(id, Making { incarnation, bssid, seq, sealed });
                let (lease, origin) = (spec.lease.map(Into::into), Origin::Coordinator);
                let input = grants::Input::GiveCode { id, code, origin, holder, incarnation, lease, quota };
                self.grants.handle_input(input, now);
            }
            Err(refusal) => {
                self.drop_outside(refusal.clone());
                // The join before this one is over, and this one does not begin.
                let input = grants::Input::Take { grant: id, incarnation: None, cause: Cause::Replaced };
                self.grants.handle_input(input, now);
                self.answer_code(id, incarnation, CodeAnswer::Refused(refusal), seq);
            }
        }
    }

    fn seal_code(&self, spec: &GrantSpec) -> Result<(Code, Bssid, SealedCode), Refusal> {
        let (Some(CodeAsk::Make { bssid, offer }), Holder::Terminal { key, session }) =
            (spec.code.as_deref(), spec.holder)
        else {
            return Err(Refusal::new(
                "bad-offer",
                "only the terminal of a session can be given a sealed code",
            ));
        };
        self.keys_of(*bssid)?;
        if self.grants.get(spec.id).is_none_or(|held| held.code.is_none()) {
            self.grants.check_code()?;
        }
        let to = OfferedTo { bssid: *bssid, service: self.service, station: spec.station };
        let binding = Binding { to, session, incarnation: spec.incarnation };
        let code = Code::new(random());
        let sealed = seal(&code, offer, key, &binding, &self.identity).map_err(|error| error.refusal())?;
        Ok((code, *bssid, sealed))
    }

    /// hostapd was told of the codes, the one of this join among them.
    pub fn code_made(&mut self, id: GrantId, incarnation: Incarnation, untold: &Untold, now: BootTime) {
        if self.making.get(&id).is_none_or(|making| making.incarnation != incarnation) {
            return;
        }
        let Some(Making { bssid, seq, sealed, .. }) = self.making.remove(&id) else { return };
        // Other access points are nothing to this terminal.
        let told = self.keys_of(bssid).and_then(|(file, bsses)| match untold.at(&bsses, file) {
            None => Ok(()),
            Some(why) => Err(codes_unwritten(&why)),
        });
        let answer = match told {
            Ok(()) => CodeAnswer::Sealed(Box::new(sealed)),
            Err(refusal) => {
                let cause = Cause::NeverJoined;
                let input = grants::Input::Take { grant: id, incarnation: Some(incarnation), cause };
                self.grants.handle_input(input, now);
                CodeAnswer::Refused(refusal)
            }
        };
        self.answer_code(id, incarnation, answer, seq);
    }

    fn answer_code(&mut self, grant: GrantId, incarnation: Incarnation, answer: CodeAnswer, seq: u64) {
        self.send(FromGateway::Code { grant, answer, incarnation });
        self.code_answered(seq);
    }

    fn code_answered(&mut self, seq: u64) {
        if let Some(upstream) = &mut self.upstream {
            upstream.handle_input(upstream::Input::CodeAnswered(seq));
        }
    }
}

/// A code that could not be put where hostapd reads it.
pub(super) fn codes_unwritten(why: &str) -> Refusal {
    let sentence = format!("the code cannot be put where hostapd reads it; nothing was granted: {why}");
    Refusal::new("codes-unwritten", sentence)
}
