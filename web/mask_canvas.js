// Paints a mask over a picture, by mouse, touch or pen. Sent after every stroke: {png, stroke}, where png is a
// data URL, white on black, or null when nothing is painted. Whoever shows the mask again sends the stroke along,
// so that the canvas loads only what it did not paint itself.

const LONGEST_SIDE = 768
const TINT = "#e5227e"
const easels = new WeakMap()

export default function ({ data, parentElement, setTriggerValue }) {
  if (!easels.has(parentElement)) easels.set(parentElement, new Easel(parentElement))
  easels.get(parentElement).show(data, painted => setTriggerValue("painted", painted))
}

class Easel {
  constructor(root) {
    this.root = root
    this.image = root.querySelector("img")
    this.canvas = root.querySelector("canvas")
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true })
    this.size = root.querySelector("input")
    this.tip = root.querySelector(".tip")
    this.erases = false
    this.last = null // where the stroke in progress is, null between strokes
    this.own = new Set() // names of the strokes made here
    this.mask = null // address of the mask that the canvas shows
    this.listen()
  }

  show({ label, help, picture, mask, stroke }, send) {
    this.send = send
    this.root.querySelector(".label").textContent = label
    this.root.querySelector(".help").textContent = help
    const known = this.own.has(stroke) || mask === this.mask
    this.mask = mask
    if (this.image.getAttribute("src") !== picture) {
      this.image.onload = () => this.stretch()
      this.image.src = picture
    } else if (!known && this.image.complete) this.load()
  }

  // A fresh canvas in the picture's proportions, with the mask on it.
  stretch() {
    const { naturalWidth: width, naturalHeight: height } = this.image
    const scale = LONGEST_SIDE / Math.max(width, height)
    this.canvas.width = Math.max(1, Math.round(width * scale))
    this.canvas.height = Math.max(1, Math.round(height * scale))
    this.load()
  }

  load() {
    const address = this.mask
    this.wipe()
    if (address === null) return
    const mask = new Image()
    mask.onload = () => {
      if (address === this.mask) this.take(mask)
    }
    mask.src = address
  }

  // White becomes the tint, black becomes nothing.
  take(mask) {
    const { width, height } = this.canvas
    this.pen.drawImage(mask, 0, 0, width, height)
    const pixels = this.pen.getImageData(0, 0, width, height)
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i]
    this.pen.putImageData(pixels, 0, 0)
    this.cover("source-in")
  }

  wipe() {
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height)
  }

  cover(operation) {
    this.pen.globalCompositeOperation = operation
    this.pen.fillStyle = TINT
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height)
    this.pen.globalCompositeOperation = "source-over"
  }

  listen() {
    this.canvas.onpointerdown = event => {
      if (event.button) return
      this.canvas.setPointerCapture(event.pointerId)
      this.last = this.place(event)
      this.draw(event)
    }
    this.canvas.onpointermove = event => {
      this.point(event)
      if (this.last) for (const part of event.getCoalescedEvents?.() ?? [event]) this.draw(part)
    }
    this.canvas.onpointerup = this.canvas.onpointercancel = () => {
      if (!this.last) return
      this.last = null
      this.report()
    }
    this.canvas.onpointerleave = () => (this.tip.hidden = true)
    for (const button of this.root.querySelectorAll("[data-tool]")) button.onclick = () => this.choose(button)
    this.root.querySelector("[data-act=clear]").onclick = () => (this.wipe(), this.report())
    this.root.querySelector("[data-act=invert]").onclick = () => (this.cover("xor"), this.report())
  }

  choose(chosen) {
    this.erases = chosen.dataset.tool === "eraser"
    for (const button of this.root.querySelectorAll("[data-tool]"))
      button.setAttribute("aria-pressed", button === chosen)
  }

  draw(event) {
    const here = this.place(event)
    this.pen.globalCompositeOperation = this.erases ? "destination-out" : "source-over"
    this.pen.strokeStyle = TINT
    this.pen.lineWidth = this.breadth()
    this.pen.lineCap = this.pen.lineJoin = "round"
    this.pen.beginPath()
    this.pen.moveTo(this.last.x, this.last.y)
    this.pen.lineTo(here.x + 0.01, here.y) // a line of no length would leave no dot
    this.pen.stroke()
    this.pen.globalCompositeOperation = "source-over"
    this.last = here
  }

  // The brush's breadth in pixels of the canvas: the slider is in hundredths of its longer side.
  breadth() {
    return (this.size.value / 100) * Math.max(this.canvas.width, this.canvas.height)
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect()
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
    }
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect()
    const breadth = (this.breadth() * box.width) / this.canvas.width
    this.tip.hidden = event.pointerType === "touch"
    this.tip.style.cssText = `width:${breadth}px;height:${breadth}px;left:${event.clientX - box.left}px;top:${event.clientY - box.top}px`
  }

  report() {
    const stroke = `${Date.now()}-${this.own.size}`
    this.own.add(stroke)
    this.send({ png: this.isEmpty() ? null : this.whiteOnBlack(), stroke })
  }

  isEmpty() {
    const { data } = this.pen.getImageData(0, 0, this.canvas.width, this.canvas.height)
    return !data.some((value, i) => i % 4 === 3 && value > 127)
  }

  whiteOnBlack() {
    const sheet = document.createElement("canvas")
    sheet.width = this.canvas.width
    sheet.height = this.canvas.height
    const pen = sheet.getContext("2d")
    pen.drawImage(this.canvas, 0, 0)
    for (const [operation, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
      pen.globalCompositeOperation = operation
      pen.fillStyle = colour
      pen.fillRect(0, 0, sheet.width, sheet.height)
    }
    return sheet.toDataURL("image/png")
  }
}
