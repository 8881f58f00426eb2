from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from invariances.demo import upload_answers


def filled_queue():
    queue, answer, text = ForwardMsgQueue(), ForwardMsg(), ForwardMsg()
    answer.file_urls_response.response_id = "1"
    text.delta.new_element.text.body = "of the page as it was"
    for message in (answer, text):
        queue.enqueue(message)
    return queue


def test_a_page_that_starts_anew_keeps_answers_alone(monkeypatch):
    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)  # as it was, after the test
    upload_answers.keep()
    queue = filled_queue()
    queue.clear(retain_lifecycle_msgs=True)
    assert [message.file_urls_response.response_id for message in queue.flush()] == ["1"]
    assert queue.is_empty()


def test_an_answer_is_sent_once(monkeypatch):
    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)
    upload_answers.keep()
    queue = filled_queue()
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["a fragment"])
    assert [message.WhichOneof("type") for message in queue.flush()].count("file_urls_response") == 1
