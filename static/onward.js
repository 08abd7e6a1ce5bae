// Moves on to the service, leaving no page behind that would open the link again on the way back.

const next = document.getElementById("next");
setTimeout(() => location.replace(next.href), 700);
