using System.Buffers;
using System.Net;
using System.Runtime.ExceptionServices;
using LibGit2Sharp;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>
/// Git's smart protocol over HttpClient, in the place of libgit2's own HTTP: that follows a redirect to any port and, unless
/// told otherwise, to any host, while its credential callback is asked in the name of the first one. Here a request goes to
/// the one scheme, host and port that was asked for, and so does a login.
/// </summary>
internal sealed class GitHttpTransport : RpcSmartSubtransport
{
    private const string RefsPath = "/info/refs";
    private const int MostMoves = 3;
    private const int MostLogins = 3;

    private static readonly Lazy<object[]> Registered = new(() =>
        [
            GlobalSettings.RegisterSmartSubtransport<GitHttpTransport>("http"),
            GlobalSettings.RegisterSmartSubtransport<GitHttpTransport>("https"),
        ]
    );

    // libgit2 makes the transport itself, on the thread that fetches.
    [ThreadStatic]
    private static GitHttpCall? _call;

    private string? _address;

    /// <summary>Runs what fetches; every request over HTTP in it is this call's.</summary>
    internal static void Run(GitHttpCall call, Action action)
    {
        _ = Registered.Value;
        _call = call;
        try
        {
            action();
        }
        catch (LibGit2SharpException) when (call.Fault is not null)
        {
            ExceptionDispatchInfo.Throw(call.Fault);
        }
        finally
        {
            _call = null;
        }
    }

    /// <inheritdoc/>
    protected override SmartSubtransportStream Action(string url, GitSmartSubtransportAction action)
    {
        var call = _call ?? throw new InvalidOperationException("git over HTTP is for launch sources only");
        _address ??= url.TrimEnd('/');
        return action switch
        {
            GitSmartSubtransportAction.UploadPackList => new Exchange(this, call, true),
            GitSmartSubtransportAction.UploadPack => new Exchange(this, call, false),
            _ => throw new InvalidOperationException("nothing is pushed"),
        };
    }

    private sealed class Exchange(GitHttpTransport transport, GitHttpCall call, bool lists)
        : SmartSubtransportStream(transport)
    {
        private readonly ArrayBufferWriter<byte> _body = new();
        private HttpResponseMessage? _answer;
        private Stream? _content;

        public override int Write(Stream dataStream, long length)
        {
            dataStream.ReadExactly(_body.GetSpan((int)length)[..(int)length]);
            _body.Advance((int)length);
            return 0;
        }

        public override int Read(Stream dataStream, long length, out long bytesRead)
        {
            try
            {
                if (_content is null)
                {
                    _answer = Send();
                    _content = _answer.Content.ReadAsStream();
                }

                var buffer = new byte[Math.Min(length, 1 << 16)];
                using var limit = Limit();
                // libgit2 calls back from native code and takes the bytes when this returns: there is nothing to await into. It is on a
                // thread of its own. A synchronous read could not be given up: neither Ctrl+C nor the limit of silence ends one.
#pragma warning disable VSTHRD002
                var read = _content.ReadAsync(buffer, limit.Token).AsTask().GetAwaiter().GetResult();
#pragma warning restore VSTHRD002
                dataStream.Write(buffer, 0, read);
                bytesRead = read;
                return 0;
            }
            catch (Exception e) when (e is not LibGit2SharpException || call.Fault is null)
            {
                call.Fault = e switch
                {
                    OperationCanceledException when !call.Token.IsCancellationRequested => new LibGit2SharpException(
                        $"the server was silent for {call.Silence.TotalSeconds:0} seconds, and the time is over"
                    ),
                    HttpRequestException or IOException => new LibGit2SharpException(
                        e.InnerException is { } inner ? $"{e.Message.TrimEnd('.', ' ')}: {inner.Message}" : e.Message
                    ),
                    _ => e,
                };
                throw call.Fault;
            }
        }

        protected override void Free()
        {
            _content?.Dispose();
            _answer?.Dispose();
            base.Free();
        }

        private CancellationTokenSource Limit()
        {
            var limit = CancellationTokenSource.CreateLinkedTokenSource(call.Token);
            limit.CancelAfter(call.Silence);
            return limit;
        }

        private HttpResponseMessage Send()
        {
            for (int moves = 0, logins = 0; ; )
            {
                var address = transport._address!;
                using var request = new HttpRequestMessage(
                    lists ? HttpMethod.Get : HttpMethod.Post,
                    address + (lists ? RefsPath + "?service=git-upload-pack" : "/git-upload-pack")
                );
                request.Headers.TryAddWithoutValidation("User-Agent", "git/2.0 (WandbLaunch)");
                if (!lists)
                {
                    request.Content = new ByteArrayContent(_body.WrittenSpan.ToArray());
                    request.Content.Headers.TryAddWithoutValidation(
                        "Content-Type",
                        "application/x-git-upload-pack-request"
                    );
                    request.Headers.TryAddWithoutValidation("Accept", "application/x-git-upload-pack-result");
                }

                using var limit = Limit();
                var answer = call.Client.Send(request, HttpCompletionOption.ResponseHeadersRead, limit.Token);
                if (answer.IsSuccessStatusCode)
                {
                    return answer;
                }

                using (answer)
                {
                    var status = (int)answer.StatusCode;
                    if (status == 401 && logins++ < MostLogins && call.LogIn(address))
                    {
                        continue;
                    }

                    if (status is >= 300 and < 400)
                    {
                        transport._address = Moved(
                            address,
                            answer.Headers.Location is { } next ? new Uri(request.RequestUri!, next) : null,
                            ++moves
                        );
                        continue;
                    }

                    throw new LibGit2SharpException(
                        status == 401
                            ? "authentication failed: no (more) credentials for this host (HTTP 401)"
                            : $"unexpected http status code: {status}"
                    );
                }
            }
        }

        // A renamed repository of the same server is followed; anything else is not: nobody has decided that the other
        // server's code may run, and the login was not meant for it.
        private string Moved(string address, Uri? target, int moves)
        {
            var path = target?.AbsolutePath ?? "";
            if (
                lists
                && moves <= MostMoves
                && target is { UserInfo.Length: 0 }
                && LaunchUri.GitOrigin(target.AbsoluteUri) == call.Origin
                && path.EndsWith(RefsPath, StringComparison.Ordinal)
                && path.Length > RefsPath.Length
            )
            {
                var moved = target.GetLeftPart(UriPartial.Authority) + path[..^RefsPath.Length];
                call.Check?.Invoke(LaunchUri.CheckRemote(moved));
                return moved;
            }

            var shown = Secrets.Mask(address);
            var where = target is null
                ? "elsewhere"
                : "to "
                    + Secrets.Mask(target.GetLeftPart(UriPartial.Path).Replace(RefsPath, "", StringComparison.Ordinal));
            throw new LaunchException(
                "GitRedirectRefused",
                LaunchErrorCategory.SecurityError,
                moves > MostMoves
                    ? $"{shown} redirects again and again, now {where}."
                    : $"{shown} redirects {where}. Another host, port or scheme is not followed, so that neither its code runs nor a login reaches it unasked. If that is the right place, give its address.",
                shown
            );
        }
    }
}

/// <summary>One fetch over HTTP: where it may go, and with which login.</summary>
internal sealed class GitHttpCall : IDisposable
{
    private readonly SocketsHttpHandler _handler;
    private readonly Func<GitCredential?> _login;
    private readonly CredentialCache _credentials = [];
    private Uri? _known;

    /// <param name="origin">Scheme, host and port.</param>
    /// <param name="login">The next credential for it; null when there are no more.</param>
    /// <param name="check">Throws for a remote that may not be used.</param>
    /// <param name="proxy">http.proxy of the user's git configuration; else the environment's counts.</param>
    /// <param name="connect">How long a host may take to accept.</param>
    /// <param name="silence">How long it may be silent then.</param>
    /// <param name="token">Ends the fetch.</param>
    internal GitHttpCall(
        string origin,
        Func<GitCredential?> login,
        Action<string>? check,
        string? proxy,
        TimeSpan connect,
        TimeSpan silence,
        CancellationToken token
    )
    {
        Origin = origin;
        Check = check;
        Silence = silence;
        Token = token;
        _login = login;
        _handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            AutomaticDecompression = DecompressionMethods.All,
            ConnectTimeout = connect,
            // By scheme, host and port, for all schemes of login that a git server may ask.
            Credentials = _credentials,
            PreAuthenticate = true,
        };
        if (!string.IsNullOrEmpty(proxy))
        {
            _handler.Proxy = new WebProxy(proxy);
        }

        Client = new HttpClient(new SocketFaultHandler(_handler)) { Timeout = Timeout.InfiniteTimeSpan };
    }

    internal string Origin { get; }

    internal Action<string>? Check { get; }

    internal TimeSpan Silence { get; }

    internal CancellationToken Token { get; }

    internal HttpClient Client { get; }

    /// <summary>What ended the fetch, where libgit2 passes on a text only, with all the stack in it.</summary>
    internal Exception? Fault { get; set; }

    /// <summary>Takes the next login for the server that is asked; false when there is none.</summary>
    internal bool LogIn(string address)
    {
        if (LaunchUri.GitOrigin(address) != Origin || _login() is not { } login)
        {
            return false;
        }

        var place = new Uri(new Uri(address).GetLeftPart(UriPartial.Authority));
        var credential = new NetworkCredential(login.User, Secrets.Register(login.Password));
        foreach (var scheme in (string[])["Basic", "Digest", "NTLM", "Negotiate"])
        {
            if (_known is not null)
            {
                _credentials.Remove(_known, scheme);
            }

            _credentials.Add(place, scheme, credential);
        }

        _known = place;
        return true;
    }

    public void Dispose() => Client.Dispose();
}
