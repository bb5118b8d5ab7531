"""A comparison as data, and as what people read: JSON, Markdown, HTML. Renderers are pure functions of the document."""
