"""The words of bounce mails: whose mail it is, what says failure or delay, where the returned message begins.

Tables for `bouncekit.bounces.bouncetext`, all in lower case: MTAs of four decades, and twenty languages.
"""

__all__ = [
    "BOILERPLATE",
    "DELAYS",
    "DELIVERED",
    "FAILURES",
    "HEADER_FIELDS",
    "INTRODUCTIONS",
    "NOT_FAILED",
    "NO_DELAY",
    "OWN_LINES",
    "REASONS",
    "RULED",
    "RULES",
    "SHAPES",
]

# Whose mail it is, by words that it opens with.
SHAPES = (
    ("qmail", "this is the qmail-send program"),
    ("exim", "this message was created automatically by mail delivery software"),
    ("exim", "this message was created automatically by the smtp relay on"),
    ("postfix", "this is the postfix program at host"),
    ("postfix", "this is the mail system at host"),
    ("opensmtpd", "this is the mailer-daemon, please do not reply to this"),
    ("dma", "this is the dragonfly mail agent"),
    ("nullmailer", "this is the nullmailer delivery system"),
    ("courier", "this is a delivery status notification from"),
    ("sendmail", "the following addresses had permanent fatal errors"),
    ("sendmail", "the following addresses had transient non-fatal errors"),
    ("sendmail", "the following addresses have delivery notifications"),
    ("sendmail", "transcript of session follows"),
    ("gmail", "delivery to the following recipient failed permanently"),
    ("gmail", "delivery to the following recipient has been delayed"),
    ("gmail", "delivery to the following recipients failed"),
    ("google groups", "groups.google.com/support"),
    ("yahoo", "we were unable to deliver your message to the following address"),
    ("yahoo", "unable to deliver message to the following address(es)"),
    ("exchange", "did not reach the following recipient"),
    ("hmailserver", "did not reach some or all of the intended recipients"),
    ("exchange", "delivery has failed to these recipients"),
    ("exchange", "your message couldn't be delivered"),
    ("exchange", "your message wasn't delivered"),
    ("exchange", "generating server:"),
    ("domino", "was not delivered to:"),
    ("lotus", "failure reasons"),
    ("imail", "original message follows."),
    ("mdaemon", "the attached message had permanent fatal delivery errors"),
    ("mdaemon", "the following data may contain sections which represent"),
    ("m-filter", "-------server message"),
    ("interscan", "this message was not delivered"),
    ("communigate", "failed to deliver to '"),
    ("smail", "failed addresses follow"),
    ("zmailer", "following is a list of the addresses"),
    ("ironport", "the reason for the problem:"),
    ("kddi", "each of the following recipients was rejected by a remote"),
    ("kddi", "could not be delivered to:"),
    ("1and1", "we had trouble delivering your message"),
    ("james", "hi. this is the james mail server"),
    ("mailfoundry", "delivery failed for the following reason"),
    ("icewarp", "the delivery of your message failed"),
    ("smartermail", "could not deliver message to the following recipient"),
    ("mailenable", "message could not be delivered to some recipients"),
    ("fml", "you are not a member of this mailing list"),
    ("fml", "duplicated message-id in"),
    ("xmail", "xmail bounce"),
    ("mms", "message could not be delivered to mobile"),
)

# Words of failure, of any language, as they stand in subjects and texts.
FAILURES = (
    "could not be delivered", "couldn't be delivered", "could not be sent", "could not deliver", "couldn't deliver",
    "cannot be delivered", "can not be delivered", "can't be delivered", "unable to deliver", "able to deliver",
    "not be delivered", "not been delivered", "not delivered", "message you sent blocked", "undeliverable",
    "undelivered", "undelivrable", "non-deliver", "nondeliver", "delivery failed", "delivery has failed",
    "delivery failure", "delivery to the following", "delivery error", "failed permanently", "failure notice",
    "permanent error", "fatal error", "permanent failure", "did not reach", "delivery status notification",
    "returned mail", "returned to sender", "mail system error", "mailer error", "not yet been delivered",
    "has been delayed", "delivery problem", "error delivering", "error sending", "trouble delivering",
    "attempting to deliver", "was rejected", "were rejected", "failed recipient", "user unknown", "unknown user",
    "no such user", "mailbox is full", "mailbox full", "exceeds allowed size", "failure reasons",
    "delivery notification", "delivery has been delayed", "bounced", "no valid recipients", "invalid user",
    "invalid recipient", "failed to deliver", "failed delivery", "account has been disabled", "rejected recipient",
    "server message", "mail failed", "the following addresses had", "delivery problems", "invalid final delivery",
    "failed addresses", "did not receive a copy",
    "unzustellbar", "nicht zugestellt", "zustellung fehlgeschlagen", "nicht ausgeliefert",
    "non remis", "non distribu", "échec de remise", "échec de la remise", "n'a pas pu être", "n'a pu être",
    "no se puede entregar", "no se ha podido entregar", "no se pudo entregar", "entrega fallida", "no entregado",
    "mancata consegna", "impossibile recapitare", "non recapitabile", "impossibile consegnare", "não entregue",
    "falha na entrega", "não foi possível entregar", "não pôde ser entregue", "niet bezorgd", "onbestelbaar",
    "niet worden bezorgd", "niet worden afgeleverd", "niedostarczon", "nie dostarczono", "nie można dostarczyć",
    "недоставлен", "не доставлен", "не может быть доставлено", "не удалось доставить", "nedoručiteln",
    "nelze doručit", "teslim edilemedi", "zustellung verzögert", "zustellung verzoegert", "zustellfehler",
    "zustellungsfehler", "konnte nicht gesendet werden", "ha sido rechazado", "fue rechazado", "foi rejeitada",
    "è stato rifiutato", "a été rejeté", "a été refusé", "wurde abgelehnt", "wurde abgewiesen", "is geweigerd",
    "remise impossible", "remise différée", "remise retardée", "entrega retrasada", "entrega demorada",
    "entrega atrasada", "entrega adiada", "consegna ritardata", "consegna rinviata", "bezorging vertraagd",
    "dostarczenie opóźnione", "доставка задержана", "доставка отложена", "doručení zpožděno", "teslimat gecikti",
    "leveransen är försenad", "leveringen er forsinket", "toimitus viivästyi", "配信遅延", "投递延迟", "배달 지연",
    "não foi entregue", "no ha sido entregado", "no pudo ser entregado", "no fue entregado", "n'a pas été remis",
    "n'a pas été distribué", "non è stato recapitato", "non è stato consegnato", "nie została dostarczona",
    "nie mogła zostać dostarczona", "не было доставлено", "не была доставлена", "nebyla doručena",
    "nepodařilo se doručit", "iletilemedi", "kunde inte skickas", "blev ikke leveret", "ble ikke levert",
    "ei toimitettu", "nem kézbesíthető", "nem sikerült kézbesíteni", "nu a putut fi livrat", "δεν παραδόθηκε",
    "αδυναμία παράδοσης", "वितरित नहीं", "お届けできません", "届けられません", "配送できません", "未能送达", "未能投递",
    "发送失败", "傳送失敗", "拒收", "전달되지", "전달할 수 없", "kunde inte levereras", "kunne ikke leveres",
    "ikke leveret",
    "ei voitu toimittaa", "kézbesíthetetlen", "无法送达", "无法投递", "退信", "被退回", "投递失败", "無法傳遞",
    "無法投遞", "配信不能", "配信エラー", "エラー通知", "メールエラー", "送信できません", "送信に失敗", "반송",
    "전송 실패",
)  # fmt: skip

DELAYS = (
    "has not yet been delivered", "not been delivered after", "has been delayed", "is delayed for more than",
    "warning message only", "this is a warning", "only a temporary failure report", "delivery attempts will continue",
    "will be retried", "will continue to try", "will keep trying", "still being retried", "will retry",
    "delivery status notification (delay)", "delayed mail", "delivery delayed", "not yet delivered",
    "warning: could not send message", "notification: delayed", "do not need to resend your message",
    "you do not need to re-send", "verzögert", "verzoegert", "noch kein fehler", "wird weiter versucht",
    "weitere zustellversuche", "retrasado", "retrasada", "se seguirá intentando", "retardée", "retardé", "différée",
    "nouvelle tentative", "atrasada", "adiada", "continuaremos tentando", "ritardata", "in ritardo",
    "verrà riprovat", "vertraagd", "wordt opnieuw geprobeerd", "opóźnion", "kolejne próby", "задержан", "отложен",
    "попытки доставки будут", "zpožděn", "gecikti", "försenad", "forsinket", "viivästy", "遅延", "再試行", "延迟",
    "将继续尝试", "繼續嘗試", "지연", "다시 시도합니다",
)  # fmt: skip
NO_DELAY = ("envelope expired", "giving up", "given up", "retry timeout exceeded")

# Words in front of an address that failed; a verbose regular expression.
INTRODUCTIONS = r"""
    recipient\ address | address(?=\s*:) | recipient\(s\) | recipients? | failed\ (?:address|recipient)(?:es|s)?
  | final-recipient | original-recipient | addressed\ to | delivered\ to | deliver(?:y)?\ to | delivery\ failed\ to
  | undeliverable\ to | deliver\ (?:the\ |your\ )?(?:message|mail|e-mail)\ to
  | delivering\ your\ (?:mail|message|e-mail)\ to | (?:your|this|the|following)\ (?:message|mail|e-mail)\ (?:to|for)
  | unknown\ (?:user|recipient) | user\ unknown | no\ such\ user | invalid\ (?:user|recipient|address)
  | rejected\ recipient | error-for | attempts | allowed\ size | errors? | full | rcpt(?:\ to)?
  | generated\ (?:by|from) | mailing\ list | message-id\ in
  | (?:ihre|die|diese)\ (?:nachricht|mail|e-mail)\ an | (?:votre|ce|le)\ (?:message|courriel|mail)\ (?:à|pour)
  | (?:su|tu|el|este)\ (?:mensaje|correo)\ (?:a|para) | (?:sua|a)\ mensagem\ (?:a|para)
  | (?:il\ suo|il\ tuo|il|questo)\ messaggio\ (?:a|per) | (?:uw|het|dit)\ bericht\ (?:aan|voor)
  | wiadomość\ do | (?:сообщение|письмо)\ (?:для|на) | zpráva\ pro | meddelande\ till
  | (?:meddelelse|besked|melding)\ til
  | [\u4e00-\u9fff]{0,8}(?:发往|发送到|发送至|发给|寄往|寄給|投递至|送达)
  | destinataire | destinatario | destinatari | adresse | empfänger | 收件人 | 宛先 | получател[юяь]
"""

# What MTAs say to everybody, behind what they say of a recipient.
BOILERPLATE = (
    "no action is required", "please note that", "for further assistance", "if you do so",
    "i'm not going to try again", "giving up on", "this has been a permanent failure", "message will be deleted",
    "will keep trying", "warning: message still", "reporting-mta:", "the following text was generated",
    "your message was also", "if your message was", "рекомендуем", "***",
)  # fmt: skip

# What stands before an address that did not fail: the sender's own, or one to write to.
NOT_FAILED = (
    "sent by", "from", "from:", "sender:", "sender", "return-path:", "reply-to:", "to the address", "to the address:",
    "send mail to", "send mail to:", "contact", "contact:", "write to", "write to:", "mail to:", "administrator:",
)  # fmt: skip

# What a reason begins with that stands apart from the address.
REASONS = (
    "reason:", "reason for", "the reason", "cause:", "error:", "details:", "grund:", "fehler:", "ursache:", "motif:",
    "motif :", "raison:", "raison :", "cause :", "erreur:", "erreur :", "motivo:", "causa:", "error :", "erro:",
    "errore:", "reden:", "oorzaak:", "fout:", "powód:", "przyczyna:", "błąd:", "причина:", "ошибка:", "důvod:",
    "chyba:", "orsak:", "årsag:", "årsak:", "syy:", "sebep:", "hata:", "neden:", "原因", "理由", "错误", "エラー",
    "사유", "오류", "αιτία:", "λόγος:", "motiv:", "कारण",
)  # fmt: skip

# What stands above addresses that got the mail.
DELIVERED = (
    "delivered successfully to", "successfully delivered to", "has been delivered to", "have been delivered to",
    "erfolgreich zugestellt an", "remis avec succès à", "entregado correctamente a", "entregado con éxito a",
    "entregue com sucesso a", "consegnato correttamente a", "succesvol afgeleverd bij", "投递成功",
)  # fmt: skip

# Where the returned message begins: a ruled line that says so ...
RULES = ("--", "==", "__", "**", "##", "++", "~~", "- -", "-*-", "[--", "|--")
RULED = (
    "copy of", "original message", "original mail", "returned message", "returned mail", "start of returned",
    "unsent message", "undelivered message", "bounced message", "message header", "headers of", "header of",
    "header and top", "message text follows", "forwarded message", "message follows", "below this line",
    "original follows", "ursprüngliche", "originalnachricht", "mensaje original", "message d'origine",
    "messaggio originale", "mensagem original", "исходное сообщение", "оригинальное сообщение", "原始邮件",
    "元のメッセージ",
)  # fmt: skip
# ... or a line of its own ...
OWN_LINES = (
    "original message follows", "the original message follows", "original message headers", "original message:",
    "original mail", "the original message is", "the original message was attached", "the original message header",
    "message headers follow", "message header:", "message headers:", "below is a copy", "a copy of the message",
    "a copy of the original message", "a copy of your message", "here is a copy", "the message header follow",
    "the message text follows", "the message headers follow", "the header of the original message",
    "headers of the original message", "old message:", "original message attached",
    "possibly truncated original message",
)  # fmt: skip
# ... or its first field.
HEADER_FIELDS = (
    "received: from", "received: by", "received: (", "return-path:", "dkim-signature:", "x-received:", "arc-seal:",
    "delivered-to:", "x-originating-ip:", "domainkey-signature:", "x-original-to:", "envelope-to:",
)  # fmt: skip
