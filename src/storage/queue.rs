//! Queues: wake-ups out, the number of visible messages, poison messages in.

use super::{CALL_DEADLINE, Error, PROBE_DEADLINE, Queue, Storage, call};
use azure_core::http::headers::HeaderName;
use azure_storage_queue::{
    QueueClient, QueueClientOptions,
    models::{
        QueueClientGetPropertiesResultHeaders as _, QueueClientPeekMessagesOptions,
        QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions, QueueMessage as Outgoing,
    },
};

/// A received message.
#[derive(Debug, Clone)]
pub struct QueueMessage {
    /// The service's own id.
    pub id: String,
    /// As sent.
    pub text: String,
    receipt: String,
}

/// How long the message of a probe is hidden, in seconds.
const PROBE_SECONDS: i32 = 30;

/// The most messages one call returns; a limit of the service.
pub(crate) const BATCH: usize = 32;

impl Storage {
    fn client(&self, name: &str) -> Result<QueueClient, Error> {
        let url = self.url(&self.endpoints.queue, name);
        let options =
            QueueClientOptions { client_options: self.client_options(), ..Default::default() };
        QueueClient::new(url, self.credential.clone(), Some(options))
            .map_err(|error| super::classify("queue client", &error))
    }

    pub(super) async fn create_queue(&self, name: &str) -> Result<(), Error> {
        match call("create queue", CALL_DEADLINE, self.client(name)?.create(None)).await {
            Ok(_) | Err(Error::Conflict { .. } | Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a text. JSON goes out as it is: host.json says `messageEncoding: none`.
    pub async fn send(&self, queue: Queue, text: String) -> Result<(), Error> {
        let message = Outgoing { message_text: Some(text) };
        let message =
            message.try_into().map_err(|error| super::classify("send message", &error))?;
        let queue = self.client(queue.name())?;
        call("send message", CALL_DEADLINE, queue.send_message(message, None)).await.map(drop)
    }

    /// Whether messages are seen, sent and deleted: sends one that nobody sees before it is deleted.
    pub async fn probe_queues(&self) -> Result<(), Error> {
        self.visible_messages(Queue::Chunks).await?;
        let message = Outgoing { message_text: Some("probe".to_owned()) };
        let message =
            message.try_into().map_err(|error| super::classify("send message", &error))?;
        let queue = self.client(Queue::Chunks.name())?;
        // Whoever may send, but not delete, leaves it to its end: a second after it would be seen.
        let hidden = QueueClientSendMessageOptions {
            visibility_timeout: Some(PROBE_SECONDS),
            message_time_to_live: Some(PROBE_SECONDS + 1),
            ..Default::default()
        };
        let send = async { queue.send_message(message, Some(hidden)).await?.into_model() };
        let sent = call("send message", PROBE_DEADLINE, send).await?;
        for message in sent.items.unwrap_or_default() {
            let (id, receipt) = (message.message_id, message.pop_receipt);
            let (id, receipt) = (id.unwrap_or_default(), receipt.unwrap_or_default());
            let delete = queue.delete_message(&id, &receipt, None);
            call("delete message", PROBE_DEADLINE, delete).await?;
        }
        Ok(())
    }

    /// How many messages are visible, at most [`BATCH`].
    pub(crate) async fn visible_messages(&self, queue: Queue) -> Result<usize, Error> {
        let queue = self.client(queue.name())?;
        let options = QueueClientPeekMessagesOptions {
            number_of_messages: i32::try_from(BATCH).ok(),
            ..Default::default()
        };
        let peek = async { queue.peek_messages(Some(options)).await?.into_model() };
        let peeked = call("peek messages", CALL_DEADLINE, peek).await?;
        Ok(peeked.items.map_or(0, |items| items.len()))
    }

    /// How many messages the queue has, visible or not, roughly.
    pub async fn depth(&self, queue: Queue) -> Result<i32, Error> {
        let queue = self.client(queue.name())?;
        let asked = async { queue.get_properties(None).await?.approximate_messages_count() };
        let count = call("read queue properties", CALL_DEADLINE, asked).await?;
        Ok(i32::try_from(count.unwrap_or(0)).unwrap_or(i32::MAX))
    }

    /// The service's clock when it was asked, as its answer says it.
    pub async fn clock(&self) -> Result<Option<String>, Error> {
        let queue = self.client(Queue::Chunks.name())?;
        let asked = async {
            Ok(queue
                .get_properties(None)
                .await?
                .headers()
                .get_optional_string(&HeaderName::from_static("date")))
        };
        call("read queue properties", CALL_DEADLINE, asked).await
    }

    /// Takes up to [`BATCH`] messages of a poison queue; they come back unless deleted. A queue that
    /// does not exist is empty: the host makes it when it needs it.
    pub(crate) async fn receive_poison(&self, queue: Queue) -> Result<Vec<QueueMessage>, Error> {
        let queue = self.client(queue.poison_name())?;
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(BATCH).ok(),
            ..Default::default()
        };
        let receive = async { queue.receive_messages(Some(options)).await?.into_model() };
        let received = match call("receive messages", CALL_DEADLINE, receive).await {
            Err(Error::Missing { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let items = received.items.unwrap_or_default();
        Ok(items
            .into_iter()
            .map(|m| QueueMessage {
                id: m.message_id.unwrap_or_default(),
                text: m.message_text.unwrap_or_default(),
                receipt: m.pop_receipt.unwrap_or_default(),
            })
            .collect())
    }

    /// Deletes a received poison message; one that is gone already is deleted.
    pub(crate) async fn delete_poison(
        &self,
        queue: Queue,
        message: &QueueMessage,
    ) -> Result<(), Error> {
        let queue = self.client(queue.poison_name())?;
        let delete = queue.delete_message(&message.id, &message.receipt, None);
        match call("delete message", CALL_DEADLINE, delete).await {
            Ok(_) | Err(Error::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
