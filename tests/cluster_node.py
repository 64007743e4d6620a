"""Stands in for scheduler and kubelet: binds pods to one node, and states of them what a kubelet would state.

Nothing is pulled and nothing runs. The image of a container is taken for pulled if it is given by digest.
"""

import hashlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = "node-1"
AT = "2026-01-02T03:04:05Z"


@dataclass
class Node:
    """One node with room for every pod.

    Attributes:
        failing: Parts of image names; containers of such an image never become ready, and such a pod of a Job fails.
        image_ids: What the node says it runs for an image, where it is not what the pod names.
        paused: Whether pods that come stay as they are.
    """

    server: str
    ca: Path
    token: str
    failing: set[str] = field(default_factory=set)
    image_ids: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        """Look after every pod as a good node does."""
        self.failing.clear()
        self.image_ids.clear()
        self.paused = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Register the node and look after its pods until the end."""
        self._request("POST", "/api/v1/nodes", {"metadata": {"name": NAME}})
        status = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}
        self._request("PATCH", f"/api/v1/nodes/{NAME}/status", status)
        thread = threading.Thread(target=self._work, name="node", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(10)

    def _work(self) -> None:
        while not self._ended.wait(0.05):
            # The API server may be stopped by a test, or a pod deleted between two requests.
            with suppress(OSError, http.client.HTTPException, ValueError):
                for pod in self._request("GET", "/api/v1/pods?resourceVersion=0")["items"]:
                    self._look_after(pod)

    def _look_after(self, pod: dict[str, Any]) -> None:
        metadata, status = pod["metadata"], pod["status"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            self._request("DELETE", path, {"gracePeriodSeconds": 0})
        elif self.paused or status.get("phase") in ("Succeeded", "Failed"):
            return
        elif not pod["spec"].get("nodeName"):
            target = {"target": {"kind": "Node", "name": NAME}, "metadata": {"name": metadata["name"]}}
            self._request("POST", f"{path}/binding", target)
        elif (stated := self._state(pod)) != {key: status.get(key) for key in stated}:
            self._request("PATCH", f"{path}/status", {"status": stated})

    def _state(self, pod: dict[str, Any]) -> dict[str, Any]:
        spec = pod["spec"]
        images = [container["image"] for container in spec["containers"]]
        good = not any(part in image for image in images for part in self.failing)
        once = any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", ()))
        phase = ("Succeeded" if good else "Failed") if once else ("Running" if good else "Pending")
        ready = "True" if good and not once else "False"
        return {
            "phase": phase,
            "conditions": [
                {"type": name, "status": state, "lastProbeTime": None, "lastTransitionTime": AT}
                for name, state in (("PodScheduled", "True"), ("ContainersReady", ready), ("Ready", ready))
            ],
            "containerStatuses": [self._container(container, good, once) for container in spec["containers"]],
        }

    def _container(self, container: dict[str, Any], good: bool, once: bool) -> dict[str, Any]:
        image = container["image"]
        if once:
            code, reason = (0, "Completed") if good else (1, "Error")
            state: dict[str, Any] = {
                "terminated": {"exitCode": code, "reason": reason, "startedAt": AT, "finishedAt": AT}
            }
        elif good:
            state = {"running": {"startedAt": AT}}
        else:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": f"cannot pull {image}"}}
        return {
            "name": container["name"],
            "image": image,
            "imageID": self._image_id(image) if good else "",
            "ready": good and not once,
            "started": good and not once,
            "restartCount": 0,
            "lastState": {},
            "state": state,
        }

    def _image_id(self, image: str) -> str:
        if image in self.image_ids:
            return self.image_ids[image]
        return image if "@" in image else f"{image}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"

    def _request(self, method: str, path: str, body: object = None) -> Any:
        host = self.server.removeprefix("https://")
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(host, timeout=10, context=context)
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        try:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
