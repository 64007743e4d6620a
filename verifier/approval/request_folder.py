"""Names of the files in a request folder."""

REQUEST = "request.json"
DOCUMENTS = "documents"
ANSWERS = "answers"
