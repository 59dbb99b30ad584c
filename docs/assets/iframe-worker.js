// Pages opened as files (file://) may not start a Worker: a hidden frame stands in for it, which is all that search needs.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      window.addEventListener("message", (event) => {
        if (event.source !== this.inside) return;
        const told = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(told);
        if (this.onmessage) this.onmessage(told);
      });
      const page = this.inside.document;
      page.open();
      page.write(
        "<body><script>" +
          "postMessage = (data) => parent.dispatchEvent(new MessageEvent('message', { data, source: window }));" +
          "importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done) => {" +
          "const s = document.createElement('script'); s.src = url; s.onload = done; document.body.append(s); })), Promise.resolve());" +
          "</" + "script><script src=\"" + url + "\"></" + "script></body>"
      );
      page.close();
    }
    postMessage(data) {
      const send = () => this.inside.dispatchEvent(new MessageEvent("message", { data }));
      if (this.inside.document.readyState === "complete") send();
      else this.inside.addEventListener("load", send, { once: true });
    }
    terminate() {
      this.inside.frameElement.remove();
    }
  };
  window.IFrameWorker = window.Worker; // the theme looks for this name to find its scripts
}
