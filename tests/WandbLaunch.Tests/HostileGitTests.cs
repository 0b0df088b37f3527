using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Sources;

namespace WandbLaunch.Tests;

/// <summary>A git server that is allowed, and wants the code or the login of one that is not.</summary>
[Collection(ProcessCollection.Name)]
public sealed class HostileGitTests : IDisposable
{
    private readonly string _folder = Fixture.NewFolder("hostile-git");
    private readonly HttpServer _asked;
    private readonly HttpServer _other;

    public HostileGitTests()
    {
        _asked = new HttpServer();
        _other = new HttpServer();
        _other.Answer = context => GitHttp.Serve(context, "/repo", Fixture.Repository);
    }

    public void Dispose()
    {
        _asked.Dispose();
        _other.Dispose();
    }

    private GitMirror Mirror(string url, GitCredential? credential = null, Action<string>? check = null) =>
        new(new LaunchCache(Path.Combine(_folder, "cache")), url, credential, null, check);

    private static Task<string> Resolve(GitMirror mirror, string? version = null) =>
        mirror.ResolveAsync(version, TestContext.Current.CancellationToken);

    [Theory]
    [InlineData(301)]
    [InlineData(302)]
    [InlineData(303)]
    [InlineData(307)]
    [InlineData(308)]
    public async Task A_redirect_to_another_host_is_not_followed_and_gets_no_request(int status)
    {
        _asked.Answer = context => Redirect(context, status, _other.Url + "/repo/info/refs?service=git-upload-pack");
        var error = await Assert.ThrowsAsync<LaunchException>(() =>
            Resolve(Mirror(_asked.Url + "/repo", new GitCredential("me", "s3cret-of-asked")))
        );
        Assert.Equal("GitRedirectRefused", error.ErrorId);
        Assert.Contains(_other.Url, error.Message, StringComparison.Ordinal);
        Assert.Empty(_other.Requests);
    }

    [Theory]
    [InlineData(301)]
    [InlineData(307)]
    public async Task A_login_that_is_given_stays_with_its_host(int status)
    {
        _asked.Answer = context =>
        {
            if (!Asked(context))
            {
                Redirect(context, status, _other.Url + "/repo/info/refs?service=git-upload-pack");
            }
        };
        _other.Answer = context => Asked(context);
        var error = await Assert.ThrowsAsync<LaunchException>(() =>
            Resolve(Mirror(_asked.Url + "/repo", new GitCredential("me", "s3cret-of-asked")))
        );
        Assert.Equal("GitRedirectRefused", error.ErrorId);
        Assert.Contains(_asked.Requests, r => r.Authorization is not null);
        Assert.Empty(_other.Requests);
    }

    [Fact]
    public async Task A_stored_login_of_the_redirects_target_is_not_used()
    {
        using var stored = Helper("other-user", "stored-for-the-other-host");
        _asked.Answer = context => Redirect(context, 301, _other.Url + "/repo/info/refs?service=git-upload-pack");
        _other.Answer = context =>
        {
            if (!Asked(context))
            {
                GitHttp.Serve(context, "/repo", Fixture.Repository);
            }
        };
        Assert.Equal(
            "GitRedirectRefused",
            (await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(_asked.Url + "/repo")))).ErrorId
        );
        Assert.Empty(_other.Requests);

        // The helper works, and for its own host it is asked.
        Assert.Equal(Fixture.Commit, await Resolve(Mirror(_other.Url + "/repo"), Fixture.Commit));
    }

    [Theory]
    [InlineData(301)]
    [InlineData(307)]
    [InlineData(308)]
    public async Task A_redirect_of_the_pack_itself_is_not_followed(int status)
    {
        _asked.Answer = context =>
        {
            if (context.Request.HttpMethod == "POST")
            {
                Redirect(context, status, _other.Url + "/repo/git-upload-pack");
            }
            else
            {
                GitHttp.Serve(context, "/repo", Fixture.Repository);
            }
        };
        var error = await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(_asked.Url + "/repo")));
        Assert.Contains(error.ErrorId, new[] { "GitRedirectRefused", "GitFetchFailed" });
        Assert.Contains(_asked.Requests, r => r.Method == "POST");
        Assert.Empty(_other.Requests);
    }

    [Theory]
    [InlineData("file:///etc/info/refs")]
    [InlineData("ssh://git@127.0.0.1:1/repo/info/refs")]
    [InlineData("ftp://127.0.0.1/repo/info/refs")]
    [InlineData("https://127.0.0.1:1/repo/info/refs")]
    [InlineData("//127.0.0.1:1/repo/info/refs")]
    [InlineData("\\\\127.0.0.1:1\\repo\\info\\refs")]
    public async Task A_redirect_to_another_scheme_or_port_is_not_followed(string target)
    {
        _asked.Answer = context => Redirect(context, 301, target);
        var error = await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(_asked.Url + "/repo")));
        Assert.Contains(error.ErrorId, new[] { "GitRedirectRefused", "GitFetchFailed" });
    }

    [Fact]
    public async Task A_renamed_repository_of_the_same_server_is_followed_with_its_login()
    {
        _asked.Answer = context =>
        {
            if (context.Request.Url!.AbsolutePath.StartsWith("/old", StringComparison.Ordinal))
            {
                Redirect(context, 301, _asked.Url + "/repo/info/refs?service=git-upload-pack");
            }
            else if (!Asked(context))
            {
                GitHttp.Serve(context, "/repo", Fixture.Repository);
            }
        };
        var checkedRemotes = new List<string>();
        var mirror = Mirror(_asked.Url + "/old", new GitCredential("me", "s3cret-of-asked"), checkedRemotes.Add);
        Assert.Equal(Fixture.Commit, await Resolve(mirror, Fixture.Commit));
        Assert.Equal([_asked.Url + "/old", _asked.Url + "/repo"], checkedRemotes.Distinct());
        Assert.Empty(_other.Requests);
    }

    [Fact]
    public async Task A_redirect_in_a_circle_ends()
    {
        var n = 0;
        _asked.Answer = context => Redirect(context, 301, $"/repo{++n}/info/refs?service=git-upload-pack");
        await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(_asked.Url + "/repo")));
        Assert.True(_asked.Requests.Count < 20);
    }

    [Fact]
    public async Task An_old_mirror_whose_configuration_allows_redirects_is_closed_too()
    {
        _asked.Answer = context => GitHttp.Serve(context, "/repo", Fixture.Repository);
        var mirror = Mirror(_asked.Url + "/repo");
        await Resolve(mirror);
        Fixture.Git(mirror.Folder, "config", "http.followRedirects", "true");
        _asked.Answer = context => Redirect(context, 302, _other.Url + "/repo/info/refs?service=git-upload-pack");
        Assert.Equal(
            "GitRedirectRefused",
            (await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(_asked.Url + "/repo")))).ErrorId
        );
        Assert.Empty(_other.Requests);
    }

    [Fact]
    public async Task A_submodule_on_another_port_gets_no_login()
    {
        var credential = new GitCredential("me", "s3cret-of-asked");
        var mirror = Mirror(_asked.Url + "/repo", credential);
        _other.Answer = context => Asked(context);
        Assert.Equal(
            "GitAuthenticationFailed",
            (
                await Assert.ThrowsAsync<LaunchException>(() => Resolve(mirror.ForSubmodule(_other.Url + "/repo")))
            ).ErrorId
        );
        Assert.NotEmpty(_other.Requests);
        Assert.All(_other.Requests, r => Assert.Null(r.Authorization));
    }

    [Fact]
    public async Task The_policy_is_asked_for_what_the_users_own_git_settings_make_of_an_address()
    {
        var config = Path.Combine(Fixture.Root, "gitconfig");
        var before = await File.ReadAllTextAsync(config, TestContext.Current.CancellationToken);
        try
        {
            await File.AppendAllTextAsync(
                config,
                $"[url \"{_other.Url}/\"]\ninsteadOf = {_asked.Url}/\n",
                TestContext.Current.CancellationToken
            );
            LibGit2Sharp.GlobalSettings.SetConfigSearchPaths(LibGit2Sharp.ConfigurationLevel.Global, _folder);
            File.Copy(config, Path.Combine(_folder, ".gitconfig"));
            void Check(string remote)
            {
                if (remote.StartsWith(_other.Url, StringComparison.Ordinal))
                {
                    throw new LaunchException("PolicyRefused", LaunchErrorCategory.SecurityError, remote);
                }
            }

            var error = await Assert.ThrowsAsync<LaunchException>(() =>
                Resolve(Mirror(_asked.Url + "/repo", new GitCredential("me", "s3cret-of-asked"), Check))
            );
            Assert.Equal("PolicyRefused", error.ErrorId);
            Assert.Empty(_other.Requests);

            // Allowed, it is asked without the login that was given for the other address.
            _other.Answer = context => Asked(context);
            await Assert.ThrowsAsync<LaunchException>(() =>
                Resolve(Mirror(_asked.Url + "/repo", new GitCredential("me", "s3cret-of-asked")))
            );
            Assert.NotEmpty(_other.Requests);
            Assert.All(_other.Requests, r => Assert.Null(r.Authorization));
        }
        finally
        {
            LibGit2Sharp.GlobalSettings.SetConfigSearchPaths(LibGit2Sharp.ConfigurationLevel.Global, null);
            await File.WriteAllTextAsync(config, before, TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task The_shells_folder_cannot_name_a_credential_helper()
    {
        var trap = Path.Combine(_folder, "trap");
        Directory.CreateDirectory(trap);
        Fixture.Git(trap, "init", "--quiet");
        Fixture.Git(trap, "config", "credential.helper", $"!touch '{_folder}/pwned'; echo");
        var before = Environment.CurrentDirectory;
        Environment.CurrentDirectory = trap;
        try
        {
            _asked.Answer = context => Asked(context);
            await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(_asked.Url + "/repo")));
        }
        finally
        {
            Environment.CurrentDirectory = before;
        }

        Assert.False(File.Exists(Path.Combine(_folder, "pwned")));
    }

    [Fact]
    public async Task A_line_break_in_a_user_name_does_not_fetch_another_hosts_login()
    {
        using var stored = Helper("github-user", "stored-for-github", "github.com");
        _asked.Answer = context => Asked(context);
        foreach (var user in new[] { "x%0ahost=github.com", "x%0a%0a", "x%0d%0aprotocol=https%0ahost=github.com" })
        {
            var url = _asked.Url.Replace("://", $"://{user}@", StringComparison.Ordinal) + "/repo";
            await Assert.ThrowsAsync<LaunchException>(() => Resolve(Mirror(url)));
        }

        Assert.DoesNotContain(
            _asked.Requests,
            r => r.Login?.Contains("stored-for-github", StringComparison.Ordinal) == true
        );
    }

    [Theory]
    [InlineData("https://github.com\\@127.0.0.1:1/a/b")]
    [InlineData("https:\\\\github.com/a/b")]
    [InlineData("https:/\\github.com/a/b")]
    [InlineData("https://github.com\t.evil.example/a/b")]
    [InlineData("https://git\nhub.com/a/b")]
    [InlineData("https://github.com./a/b")]
    [InlineData("https://github.com /a/b")]
    [InlineData("https://gıthub.com/a/b")]
    [InlineData("https://ｇithub.com/a/b")]
    [InlineData("https://github。com/a/b")]
    [InlineData("https://-oProxyCommand=x/a/b")]
    [InlineData("ssh://-oProxyCommand=x/a/b")]
    [InlineData("ssh://git@-oProxyCommand=x/a/b")]
    [InlineData("ssh://-l@github.com/a/b")]
    [InlineData("git@-oProxyCommand=x:a/b")]
    [InlineData("-oProxyCommand=x:a/b")]
    [InlineData("git@github.com:-a/b")]
    [InlineData("git@githüb.com:a/b")]
    [InlineData("https://0x7f000001/a/b")]
    [InlineData("https://2130706433/a/b")]
    [InlineData("https://127.1/a/b")]
    [InlineData("https://0177.0.0.1/a/b")]
    [InlineData("http://github.com/a/b")]
    [InlineData("http://127.0.0.1.evil.example/a/b")]
    [InlineData("git://github.com/a/b")]
    [InlineData("ext::sh -c touch% /tmp/x")]
    [InlineData("fd::17")]
    [InlineData("https://a@b@github.com/a/b")]
    [InlineData("https://evil.example?@github.com/a/b")]
    [InlineData("https://evil.example;@github.com:x/a/b")]
    public void An_address_that_two_programs_could_read_as_two_hosts_is_refused(string remote)
    {
        Assert.IsType<LaunchException>(Record.Exception(() => LaunchUri.Parse(remote, _folder)));
        Assert.IsType<LaunchException>(Record.Exception(() => Mirror(remote)));
    }

    [Theory]
    [InlineData("https://github.com@evil.example/a/b", "evil.example")]
    [InlineData("https://GitHub.COM/a/b", "github.com")]
    [InlineData("https://github.com:8443/a/b", "github.com")]
    [InlineData("https://xn--gthub-n4a.com/a/b", "xn--gthub-n4a.com")]
    [InlineData("ssh://git@GitHub.com:22/a/b", "github.com")]
    [InlineData("git@github.com:a/b.git", "github.com")]
    [InlineData("https://file/a/b", "file.")]
    [InlineData("ssh://git@file/a/b", "file.")]
    [InlineData("file:///srv/git/a b", "file")]
    [InlineData("http://[::1]:8080/a/b", "[::1]")]
    public void The_policy_sees_the_host_that_is_asked(string remote, string host) =>
        Assert.Equal(host, LaunchUri.GitHost(LaunchUri.Parse(remote, _folder).Location));

    [Theory]
    [InlineData("https://github.com/a", "https://github.com:443/b", true)]
    [InlineData("https://github.com/a", "https://github.com:8443/b", false)]
    [InlineData("https://github.com/a", "http://github.com/b", false)]
    [InlineData("https://github.com/a", "ssh://git@github.com/b", false)]
    [InlineData("https://github.com/a", "https://github.com.evil.example/b", false)]
    [InlineData("git@github.com:a", "ssh://git@github.com/a", true)]
    public void A_login_belongs_to_scheme_host_and_port(string one, string two, bool same) =>
        Assert.Equal(same, LaunchUri.GitOrigin(one) == LaunchUri.GitOrigin(two));

    // git's own helper, in the settings of this test's user.
    private static Restore Helper(string user, string password, string? onlyHost = null)
    {
        var config = Path.Combine(Fixture.Root, "gitconfig");
        var before = File.ReadAllText(config);
        var match = onlyHost is null ? "" : $"grep -q 'host={onlyHost}' || exit 0; ";
        File.AppendAllText(
            config,
            $"[credential]\nhelper = \"!f() {{ {match}echo username={user}; echo password={password}; }}; f\"\n"
        );
        return new Restore(() => File.WriteAllText(config, before));
    }

    private sealed class Restore(Action action) : IDisposable
    {
        public void Dispose() => action();
    }

    private static bool Asked(HttpListenerContext context)
    {
        if (context.Request.Headers["Authorization"] is not null)
        {
            return false;
        }

        context.Response.StatusCode = 401;
        context.Response.AddHeader("WWW-Authenticate", "Basic realm=\"git\"");
        context.Response.Close();
        return true;
    }

    private static void Redirect(HttpListenerContext context, int status, string target)
    {
        context.Response.StatusCode = status;
        context.Response.AddHeader("Location", target);
        context.Response.Close();
    }
}

/// <summary>A request as it arrived.</summary>
internal sealed record SeenRequest(string Method, string Path, string? Authorization, string Headers)
{
    internal string? Login =>
        Authorization?.StartsWith("Basic ", StringComparison.Ordinal) == true
            ? Encoding.UTF8.GetString(Convert.FromBase64String(Authorization[6..]))
            : Authorization;
}

/// <summary>A real HTTP server that remembers what arrives.</summary>
internal sealed class HttpServer : IDisposable
{
    private readonly HttpListener _listener = new();

    internal HttpServer()
    {
        using (var free = new TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            Url = $"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}";
        }

        _listener.Prefixes.Add(Url + "/");
        _listener.Start();
        _ = Task.Run(async () =>
        {
            while (_listener.IsListening)
            {
                HttpListenerContext context;
                try
                {
                    context = await _listener.GetContextAsync();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }

                Requests.Enqueue(
                    new SeenRequest(
                        context.Request.HttpMethod,
                        context.Request.RawUrl ?? "",
                        context.Request.Headers["Authorization"],
                        context.Request.Headers.ToString() ?? ""
                    )
                );
                _ = Task.Run(() =>
                {
                    try
                    {
                        Answer(context);
                    }
                    catch (Exception e) when (e is HttpListenerException or ObjectDisposedException or IOException)
                    {
                        // The client has gone.
                    }
                });
            }
        });
    }

    internal string Url { get; }

    internal ConcurrentQueue<SeenRequest> Requests { get; } = new();

    internal Action<HttpListenerContext> Answer { get; set; } =
        context =>
        {
            context.Response.StatusCode = 404;
            context.Response.Close();
        };

    public void Dispose() => _listener.Close();
}

/// <summary>git's smart protocol over HTTP, by the git program.</summary>
internal static class GitHttp
{
    internal static void Serve(HttpListenerContext context, string prefix, string repository)
    {
        var path = context.Request.Url!.AbsolutePath;
        if (path == prefix + "/info/refs")
        {
            context.Response.ContentType = "application/x-git-upload-pack-advertisement";
            context.Response.OutputStream.Write("001e# service=git-upload-pack\n0000"u8);
            Run(context, repository, null, "--advertise-refs");
        }
        else if (path == prefix + "/git-upload-pack")
        {
            context.Response.ContentType = "application/x-git-upload-pack-result";
            var body = new MemoryStream();
            using (
                var input =
                    context.Request.Headers["Content-Encoding"] == "gzip"
                        ? new System.IO.Compression.GZipStream(
                            context.Request.InputStream,
                            System.IO.Compression.CompressionMode.Decompress
                        )
                        : context.Request.InputStream
            )
            {
                input.CopyTo(body);
            }

            Run(context, repository, body.ToArray());
        }
        else
        {
            context.Response.StatusCode = 404;
        }

        context.Response.Close();
    }

    private static void Run(HttpListenerContext context, string repository, byte[]? input, params string[] more)
    {
        var start = new ProcessStartInfo("git") { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (var word in (string[])["upload-pack", "--stateless-rpc", .. more, repository])
        {
            start.ArgumentList.Add(word);
        }

        using var process = Process.Start(start)!;
        process.StandardInput.BaseStream.Write(input ?? []);
        process.StandardInput.Close();
        process.StandardOutput.BaseStream.CopyTo(context.Response.OutputStream);
        process.WaitForExit();
    }
}
