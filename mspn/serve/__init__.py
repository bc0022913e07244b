"""`mspn serve`: a page to try models, and an HTTP service to call them. The extra ``[web]``.

What a request goes through: `limits` (how much of anything is taken), `sent` (its pictures and
settings, checked), `service` (the models, whose batches all requests share), and `app` (HTTP) or
`page` (the web page, on Gradio).
"""
