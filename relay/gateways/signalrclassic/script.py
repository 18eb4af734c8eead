"""Writes the script with the proxies of all hubs, which pages load from `/signalr/hubs`."""

from typing import Final

import msgspec

from relay.gateways.signalrclassic.hubs import ClassicHub, ClassicHubs

# Clients of 2.4.1 and later look for the text "Call the client hub method" in handlers of scripts that call `on` with
# two arguments only. The address is that of the script itself, so that pages of other origins need not set it.
_SCRIPT: Final = """\
/* The hubs of this relay, for jquery.signalR 2.x. */
(function ($, window) {
  'use strict';
  if (!$ || typeof $.signalR !== 'function') {
    throw new Error('Load jQuery and jquery.signalR.js ahead of this script.');
  }
  var own = window.document && window.document.currentScript;
  var address = own && own.src ? own.src.replace(/\\/(?:hubs|js)\\/?(?:[?#].*)?$/i, '') : PATH;

  function handler(hub, client) {
    return function () {
      // Call the client hub method
      client.apply(hub, $.makeArray(arguments));
    };
  }

  function each(proxies, register) {
    $.each(proxies, function (_, hub) {
      if (!hub || !hub.hubName) return;
      $.each(hub.client, function (name, client) {
        if (typeof client !== 'function') return;
        hub[register ? 'on' : 'off'](name, handler(hub, client), client);
      });
    });
  }

  $.hubConnection.prototype.createHubProxies = function () {
    var connection = this, proxies = {};
    connection.starting(function () {
      each(proxies, true);
      connection._registerSubscribedHubs();
    }).disconnected(function () {
      each(proxies, false);
    });

    function add(name, hubName, methods) {
      var hub = proxies[name] = connection.createHubProxy(hubName);
      hub.client = {};
      hub.server = {};
      $.each(methods, function (own, method) {
        hub.server[own] = function () {
          return hub.invoke.apply(hub, [method].concat($.makeArray(arguments)));
        };
      });
    }

HUBS
    return proxies;
  };

  $.signalR.hub = $.hubConnection(address, { useDefaultPath: false });
  $.extend($.signalR, $.signalR.hub.createHubProxies());
}(window.jQuery, window));
"""

_encode: Final = msgspec.json.Encoder().encode


class ProxyScript:
    """The script of one relay's hubs."""

    def __init__(self, hubs: ClassicHubs) -> None:
        self._head, _, self._tail = _SCRIPT.replace("HUBS", "\n".join(map(_add, hubs))).partition("PATH")

    def below(self, path: str) -> bytes:
        """Return the script; old browsers do not know its address, and use this path."""
        # In a page, `</script>` would end the script: no text of a request is to have it.
        text = _encode(path).replace(b"<", b"\\u003c")
        return self._head.encode() + text + self._tail.encode()


def _add(hub: ClassicHub) -> str:
    methods = {_camel(method.name): method.name for method in hub.methods.values()}
    name = _camel(hub.name)
    return f"    add('{name}', '{name}', {_encode(methods).decode()});"


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]
