// Browsers start no worker on a page that is opened as a file. There, the worker of the search runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = (data) => this.onmessage?.(new MessageEvent("message", { data }))
      const script = inside.document.createElement("script")
      script.src = url
      script.onerror = (event) => this.onerror?.(event)
      this.frame = frame
      this.ready = new Promise((resolve) => (script.onload = resolve))
      inside.document.body.append(script)
    }

    postMessage(data) {
      const inside = this.frame.contentWindow
      this.ready.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
