"""What "I know this batch number" does to the rest of a bank."""

from __future__ import annotations

from adapters.banks.xml_tcp import answers
from adapters.banks.xml_tcp.wire import Document
from adapters.contract import Evidence, Rendered
from tests.store import kit
from tests.store.kit import Gateway


async def test_a_known_batch_number_makes_one_file_doubtful_not_the_bank_deaf(gateway: Gateway) -> None:
    """3051 in the reply to a submission, as xml_tcp reads it: the file is asked about, the others go on."""

    def known(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [
            answers.judge_package(Document({"RETCODE": "3051", "RETMSG": ""}, {}, None), rendered.submission, "0" * 64)
        ]

    gateway.bank.submits = known
    await gateway.pay(1)
    assert await gateway.buckets() == {"in_doubt": 1}
    assert await gateway.store.pauses.paused() == {}
