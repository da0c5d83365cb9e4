"""The operations of the service API on enrollments and enrollment groups.

Source: the published API description 2021-10-01; recorded answers of the service (2023-05-19) for statuses and headers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dps_simulator.common.field_checks import wrong_body
from dps_simulator.common.http import Response
from dps_simulator.common.paging import Page, page_size
from dps_simulator.common.ports import Document, StoredDocument
from dps_simulator.provisioning.enrollments.bulk import run_bulk
from dps_simulator.provisioning.enrollments.kinds import EnrollmentKind
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.wire.http import Call

from .versions import UNSEEN_IN_ENROLLMENTS, enrollment_for


class EnrollmentOperations:
    """The operations on one kind of enrollments.

    Arguments:
        service: what judges devices, and keeps enrollments and registrations.
        kind: individual enrollments or groups.
    """

    def __init__(self, service: ProvisioningService, kind: EnrollmentKind) -> None:
        self._service = service
        self._kind = kind
        self._book = service.enrollments.of(kind)

    def get(self, call: Call) -> Response:
        """Answer one enrollment, without its keys.

        Raises:
            ServiceError: there is none with this ID.
        """
        shown = self._service.show_enrollment(self._kind, call.parameters["id"])
        return Response(200, enrollment_for(version_of(call), shown))

    def put(self, call: Call) -> Response:
        """Create or replace one; the answer is 200 for both (recorded).

        Raises:
            ServiceError: a field is wrong, or ``If-Match`` does not fit.
        """
        version = version_of(call)
        enrollment = self._book.put(
            call.parameters["id"], call.body, call.header("if-match"), unseen=UNSEEN_IN_ENROLLMENTS[version]
        )
        return Response(200, enrollment_for(version, enrollment.to_json(with_keys=True)))

    def delete(self, call: Call) -> Response:
        """Remove one, and with it the registrations of its devices; the answer is 204.

        Raises:
            ServiceError: there is none with this ID, or ``If-Match`` does not fit.
        """
        self._book.delete(call.parameters["id"], call.header("if-match"))
        return Response(204)

    def query(self, call: Call) -> Response:
        """Answer a page of the enrollments of this kind; a header carries the token for the next page.

        Raises:
            ServiceError: the body is no query, or a header is wrong.
        """
        if not isinstance(call.body, dict):
            raise wrong_body('The body must be a JSON object such as {"query": "SELECT *"}.')
        version = version_of(call)
        return listed(
            call,
            partial(self._book.query, call.body.get("query")),
            lambda item: enrollment_for(version, self._book.shown(item)),
            self._kind.item_type,
        )

    def mechanism(self, call: Call) -> Response:
        """Answer how devices prove themselves, with the keys."""
        return Response(200, self._book.get(call.parameters["id"]).attestation_mechanism())

    def bulk(self, call: Call) -> Response:
        """Create, update or delete several; the answer is 200 even when all of them fail (recorded)."""
        result = run_bulk(self._book, call.body, unseen=UNSEEN_IN_ENROLLMENTS[version_of(call)])
        reasons = result.reasons()
        return Response(200, result.to_json(), facts={"reasons": reasons} if reasons else {})


def version_of(call: Call) -> str:
    """The version of the API that the client speaks. That it is a known one was checked before."""
    return call.request.query["api-version"]


def listed(
    call: Call, query: Callable[..., Page], show: Callable[[StoredDocument], Document], item_type: str
) -> Response:
    """A page as queries answer it.

    Arguments:
        call: says in its headers how many it wants, and where the page before ended.
        query: reads the page of this ``size`` behind this ``continuation``.
        show: makes JSON of a document.
        item_type: what the documents are.
    """
    page = query(size=page_size(call.header("x-ms-max-item-count")), continuation=call.header("x-ms-continuation"))
    headers = {"x-ms-item-type": item_type, "X-Content-Type-Options": "nosniff"}
    if page.continuation is not None:
        headers["x-ms-continuation"] = page.continuation
    return Response(200, [show(document) for document in page.documents], headers)
