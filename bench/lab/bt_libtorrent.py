"""A BitTorrent client of libtorrent-rasterbar.

usage: bt_libtorrent.py default|tuned|nosuper TORRENT DIR seed|wait
wait: makes DIR/.ready, starts when DIR/.go appears, and makes DIR/.done when all of it is there
"""
import os
import sys
import time

import libtorrent as lt

COMMON = {
    "enable_dht": False, "enable_upnp": False, "enable_natpmp": False, "listen_interfaces": "0.0.0.0:6881",
    "alert_mask": lt.alert.category_t.status_notification,
}
TUNED = {  # TCP only, many slots, no encryption
    "upload_rate_limit": 0, "download_rate_limit": 0, "allow_multiple_connections_per_ip": True,
    "mixed_mode_algorithm": 0,  # prefer TCP
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "unchoke_slots_limit": 40, "num_optimistic_unchoke_slots": 2, "unchoke_interval": 5,
    "seed_choking_algorithm": 1,  # fastest upload
    "connections_limit": 500, "torrent_connect_boost": 100, "connection_speed": 200,
    "min_reconnect_time": 5, "peer_turnover_interval": 3600, "rate_limit_ip_overhead": False,
    "strict_end_game_mode": False, "whole_pieces_threshold": 2, "max_out_request_queue": 1500,
    "request_queue_time": 3, "send_buffer_watermark": 2 << 20, "predictive_piece_announce": 0,
    "in_enc_policy": 2, "out_enc_policy": 2,
}


def torrent_of(mode, path, folder, role):
    p = lt.add_torrent_params()
    p.ti = lt.torrent_info(path)
    p.save_path = folder
    p.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if role == "seed" and mode == "tuned":
        p.flags |= lt.torrent_flags.super_seeding
    return p


def main():
    mode, path, folder, role = sys.argv[1:]
    session = lt.session(COMMON | ({} if mode == "default" else TUNED))
    params = torrent_of(mode, path, folder, role)
    if role == "wait":
        open(folder + "/.ready", "w").close()
        while not os.path.exists(folder + "/.go"):
            time.sleep(0.02)
    session.add_torrent(params)
    while True:
        session.wait_for_alert(1000)
        if any(isinstance(a, lt.torrent_finished_alert) for a in session.pop_alerts()) and role == "wait":
            open(folder + "/.done", "w").close()


main()
