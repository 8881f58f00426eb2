"""A mend of Streamlit 1.67, which loses uploads.

Before a browser sends a file, it asks the server where to. The answer waits in a queue of messages to the browser, and
the queue is cleared when a page starts anew: the answer is gone, the browser waits for ever, and the page shows the old
picture as if nothing had been uploaded.
"""

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

_clear = ForwardMsgQueue.clear


def keep() -> None:
    """Keep the answers to uploads, in all sessions of this server, when a page starts anew."""
    ForwardMsgQueue.clear = _clear_all_but_answers  # type: ignore[assignment, method-assign]


def _clear_all_but_answers(
    queue: ForwardMsgQueue, retain_lifecycle_msgs: bool = False, fragment_ids_this_run: list[str] | None = None
) -> None:
    """Replaces `ForwardMsgQueue.clear`; without `retain_lifecycle_msgs` nothing is to be kept."""
    answers = [message for message in queue._queue if _is_answer(message)] if retain_lifecycle_msgs else []
    _clear(queue, retain_lifecycle_msgs, fragment_ids_this_run)
    queue._queue += [answer for answer in answers if answer not in queue._queue]


def _is_answer(message: ForwardMsg) -> bool:
    return message.WhichOneof("type") == "file_urls_response"
