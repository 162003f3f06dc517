//! Messages as an owner makes and withdraws them: kept before anybody is told.

use super::hub::Hub;
use super::store::writer::NotKept;
use super::store::{Change, MessageRecord};
use crate::host::clock;
use crate::logic::post;
use crate::model::{Message, MessageId, Refusal};
use crate::wire::local::{MessageAsk, MessageRow};
use crate::wire::push::SignedMessage;
use crate::wire::sign::new_message_id;

/// Tells terminals something.
pub async fn push(hub: &Hub, ask: MessageAsk) -> Result<MessageRow, Refusal> {
    let valid = post::valid(ask.valid)?;
    hub.core().check_message(&ask.to)?;
    let message = Message { id: new_message_id(), to: ask.to, link: ask.link, text: ask.text };
    let signed = SignedMessage::new(&hub.identity, &message)
        .map_err(|error| Refusal::new("bad-message", error.to_string()))?;
    // By the calendar, as it outlives a restart; never sooner than asked.
    let expires = clock::calendar().saturating_add(valid.as_secs() + 1);
    let record = MessageRecord { message: message.clone(), expires, taken: [].into() };
    hub.writer.make(Change::Push { record }).await.map_err(|error| match error {
        NotKept::Full => Refusal::new("store-full", "the disk is full: no new messages until there is room"),
        NotKept::Closed => Refusal::new("closing", "the coordinator is closing"),
    })?;
    // It may have become one too many meanwhile, or its session is over.
    let told = hub.core().tell_message(message.clone(), signed, valid, clock::now());
    match told {
        Some(row) => Ok(row),
        None => {
            let _ = hub.writer.make(Change::ForgetMessage { message: message.id }).await;
            hub.core().check_message(&message.to)?;
            Err(Refusal::new("over", "its time was over before it was kept"))
        }
    }
}

/// Tells it no more.
pub fn withdraw(hub: &Hub, message: &MessageId) -> Result<MessageRow, Refusal> {
    let withdrawn = hub.core().withdraw_message(message, clock::now());
    withdrawn.ok_or_else(|| Refusal::new("no-message", "there is no such message"))
}
