"""`mspn serve`: an HTTP service, and a page in the browser that asks it. The extra ``[web]``.

What a request goes through: `limits` (how much of anything is taken), `sent` (its pictures and
settings, checked), `service` (the models, whose batches all requests share), and `app` (HTTP). The
page, ``page.html`` and ``page.js``, is a client like any other: what it shows never leaves the
browser, but for the pictures that it sends.
"""
