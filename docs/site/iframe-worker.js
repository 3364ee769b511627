// Browsers start no worker on a page that is opened as a file. There, the worker of the search runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      const { port1, port2 } = new MessageChannel()
      port1.onmessage = (event) => this.onmessage?.(event)
      this.port = port1
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inside = this.frame.contentWindow
      inside.postMessage = (data) => port2.postMessage(data)
      const script = inside.document.createElement("script")
      script.src = url
      // What arrives earlier waits in the channel.
      script.onload = () => (port2.onmessage = (event) => inside.onmessage(event))
      script.onerror = (event) => this.onerror?.(event)
      inside.document.body.append(script)
    }

    postMessage(data) {
      this.port.postMessage(data)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
