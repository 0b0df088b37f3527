using System.Net;
using System.Net.Sockets;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

[Collection(SessionCollection.Name)]
public sealed class SettingsTests
{
    private const string Key = "0123456789abcdef0123456789abcdef01234567";

    private static LaunchEnvironment Machine(string home, params (string Name, string Value)[] variables) =>
        new()
        {
            Home = home,
            Variable = name => variables.FirstOrDefault(v => v.Name == name).Value,
            IsWindows = false,
        };

    [Fact]
    public void Parameter_beats_environment_beats_local_beats_global_beats_netrc()
    {
        var home = Fixture.NewFolder("home");
        Directory.CreateDirectory(Path.Combine(home, ".config", "wandb"));
        File.WriteAllText(
            Path.Combine(home, ".config", "wandb", "settings"),
            "[default]\nentity = global\nproject = global\nbase_url = https://global.example\n"
        );
        Directory.CreateDirectory(Path.Combine(home, "work", "wandb"));
        File.WriteAllText(
            Path.Combine(home, "work", "wandb", "settings"),
            "[default]\nentity = local\nproject = local\n"
        );
        File.WriteAllText(Path.Combine(home, ".netrc"), $"machine global.example login user password {Key}\n");
        var work = Path.Combine(home, "work");

        var settings = WandbSettings.Resolve(Machine(home), work);
        Assert.Equal(
            ("local", "local", "https://global.example", Key, SettingSource.Netrc),
            (settings.Entity, settings.Project, settings.BaseUrl, settings.ApiKey, settings.ApiKeySource)
        );
        settings = WandbSettings.Resolve(Machine(home, ("WANDB_ENTITY", "env"), ("WANDB_API_KEY", "e" + Key)), work);
        Assert.Equal(
            ("env", "local", "e" + Key, SettingSource.Environment),
            (settings.Entity, settings.Project, settings.ApiKey, settings.ApiKeySource)
        );
        settings = WandbSettings.Resolve(
            Machine(home, ("WANDB_ENTITY", "env"), ("WANDB_API_KEY", "e" + Key)),
            work,
            "https://p.example/",
            "p" + Key,
            "p"
        );
        Assert.Equal(
            ("p", "https://p.example", "p" + Key, SettingSource.Parameter),
            (settings.Entity, settings.BaseUrl, settings.ApiKey, settings.ApiKeySource)
        );
    }

    [Theory]
    [InlineData("https://wandb.ai")]
    [InlineData("http://api.wandb.ai")]
    [InlineData("https://user:secret@api.wandb.ai")]
    [InlineData("api.wandb.ai")]
    public void A_base_url_that_would_leak_or_miss_is_refused(string url) =>
        Assert.Equal("BaseUrlInvalid", Assert.Throws<LaunchException>(() => WandbSettings.CheckBaseUrl(url)).ErrorId);

    [Theory]
    [InlineData(Key, true)]
    [InlineData("local-" + Key, true)]
    [InlineData("aaaa.bbbb.cccc", true)]
    [InlineData("0123", false)]
    [InlineData("onprem-0123", false)]
    [InlineData("0123456789abcdef 123456789abcdef01234567", false)]
    public void Keys_have_a_form(string key, bool good) => Assert.Equal(good, ApiKey.Fault(key) is null);

    [Fact]
    public void Netrc_is_found_read_and_written_as_the_sdk_does()
    {
        var home = Fixture.NewFolder("netrc");
        Assert.Equal(Path.Combine(home, ".netrc"), Netrc.FilePath(Machine(home)));
        Assert.Equal("/x/y", Netrc.FilePath(Machine(home, ("NETRC", "/x/y"))));
        File.WriteAllText(Path.Combine(home, "_netrc"), "");
        Assert.Equal(Path.Combine(home, "_netrc"), Netrc.FilePath(Machine(home)));

        var file = Path.Combine(home, "n");
        const string Other =
            "# mine\nmachine github.com\n  login me\n  password \"a b\\\"c\"\n\ndefault login x password y\n";
        File.WriteAllText(file, Other + "machine api.wandb.ai login user password old\n");
        Netrc.Save(file, "api.wandb.ai", "user", Key);
        Assert.Equal(Other + $"machine api.wandb.ai\n  login user\n  password {Key}\n", File.ReadAllText(file));
        Assert.Equal(Key, Netrc.FindPassword(file, "api.wandb.ai"));
        Assert.Equal("a b\"c", Netrc.FindPassword(file, "github.com"));
        Assert.Null(Netrc.FindPassword(file, "example.org"));
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        }

        Assert.True(Netrc.Remove(file, "api.wandb.ai"));
        Assert.Equal(Other, File.ReadAllText(file));
        Assert.False(Netrc.Remove(file, "api.wandb.ai"));
    }

    [Fact]
    public void Connect_tells_who_and_where_but_never_the_key()
    {
        using var shell = new Shell(false);
        var connection = Assert.Single(
            shell.Ok($"Connect-Wandb {Fixture.Server.Url} -ApiKey $key -Save", ("key", Shell.Secure(Fixture.Key)))
        );
        Assert.Equal("local", connection.Properties["Username"].Value);
        Assert.Equal("Parameter", connection.Properties["ApiKeySource"].Value.ToString());
        Assert.DoesNotContain(
            Fixture.Key,
            string.Concat(connection.Properties.Select(p => p.Value)),
            StringComparison.Ordinal
        );
        Assert.Contains(Fixture.Key, File.ReadAllText(Path.Combine(Fixture.Root, "netrc")), StringComparison.Ordinal);
        shell.Ok("Disconnect-Wandb");
        Assert.Empty(shell.Ok("Get-WandbConnection"));
        Assert.Equal(
            "Netrc",
            Assert.Single(shell.Ok($"Connect-Wandb {Fixture.Server.Url}")).Properties["ApiKeySource"].Value.ToString()
        );
        shell.Ok("Disconnect-Wandb -Forget");
        Assert.DoesNotContain(
            Fixture.Key,
            File.ReadAllText(Path.Combine(Fixture.Root, "netrc")),
            StringComparison.Ordinal
        );
        shell.Fails($"Connect-Wandb {Fixture.Server.Url}", "ApiKeyMissing");
    }

    [Fact]
    public void Each_failure_to_connect_is_one_clear_error()
    {
        using var shell = new Shell(false);
        var key = ("key", (object)Shell.Secure(Key));
        Assert.Contains(
            "Connect-Wandb -ApiKey",
            shell.Fails($"Connect-Wandb {Fixture.Server.Url} -ApiKey $key", "ApiKeyRejected", key).ToString(),
            StringComparison.Ordinal
        );
        Assert.Equal(
            System.Management.Automation.ErrorCategory.ConnectionError,
            shell.Fails("Connect-Wandb http://127.0.0.1:9 -ApiKey $key", "HostUnreachable", key).CategoryInfo.Category
        );
        shell.Fails("Connect-Wandb http://no-such-host.invalid -ApiKey $key", "HostNotFound", key);
        shell.Fails(
            $"Connect-Wandb {Fixture.Server.Url.Replace("http:", "https:", StringComparison.Ordinal)} -ApiKey $key",
            "TlsFailed",
            key
        );
        shell.Fails("Connect-Wandb https://wandb.ai -ApiKey $key", "BaseUrlInvalid", key);
        Assert.DoesNotContain(
            "tooshort",
            shell
                .Fails(
                    "Connect-Wandb http://127.0.0.1:9 -ApiKey $key",
                    "ApiKeyInvalid",
                    ("key", Shell.Secure("tooshort"))
                )
                .ToString(),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Retries_what_may_heal_and_survives_every_error_shape()
    {
        // A scripted server: each answer once. The three error bodies are those of protocol A.4.
        string[] answers =
        [
            "HTTP/1.1 500 x\r\nContent-Length: 21\r\n\r\n{\"errors\": [\"broken\"]}"[..^1],
            "HTTP/1.1 429 x\r\nRetry-After: 0\r\nContent-Length: 18\r\n\r\n{\"error\": \"slowly\"}",
            "HTTP/1.1 200 x\r\nContent-Length: 44\r\n\r\n{\"data\": {\"viewer\": {\"id\": 1, \"entity\":\"e\"}}}",
            "HTTP/1.1 409 x\r\nContent-Length: 21\r\n\r\n{\"error\": \"conflict!\"}",
            "HTTP/1.1 403 x\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 x\r\nContent-Length: 36\r\n\r\n{\"errors\": [\"bare\", {\"message\":\"m\"}]}",
            "HTTP/1.1 200 x\r\nContent-Length: 6\r\n\r\n<html>",
        ];
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var requests = new List<string>();
        var server = Task.Run(async () =>
        {
            foreach (var answer in answers)
            {
                using var client = await listener.AcceptTcpClientAsync();
                var stream = client.GetStream();
                var buffer = new byte[65536];
                var text = "";
                while (!text.Contains("\r\n\r\n", StringComparison.Ordinal) || !text.EndsWith('}'))
                {
                    var read = await stream.ReadAsync(buffer);
                    text += Encoding.UTF8.GetString(buffer, 0, read);
                }

                requests.Add(text);
                var head = answer[..(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)];
                var body = answer[head.Length..];
                await stream.WriteAsync(
                    Encoding.UTF8.GetBytes(
                        System.Text.RegularExpressions.Regex.Replace(
                            head,
                            "Content-Length: \\d+",
                            $"Content-Length: {body.Length}\r\nConnection: close"
                        ) + body
                    )
                );
            }
        });
        var settings = WandbSettings.Resolve(
            Machine("/nowhere", ("WANDB_USERNAME", "me"), ("WANDB__EXTRA_HTTP_HEADERS", "{\"X-Extra\": \"1\"}")),
            "/",
            $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}",
            Key
        );
        var waits = 0;
        using var transport = new GraphQLTransport(settings) { OnRetry = _ => waits++ };
        var api = new WandbApi(transport);
        Assert.Equal("e", (await api.ViewerAsync(default))!.Entity);
        Assert.Equal(2, waits);
        Assert.Contains(
            "conflict!",
            (await Assert.ThrowsAsync<LaunchException>(() => api.ViewerAsync(default))).Message,
            StringComparison.Ordinal
        );
        Assert.Equal(
            "AccessDenied",
            (await Assert.ThrowsAsync<LaunchException>(() => api.ViewerAsync(default))).ErrorId
        );
        Assert.Contains(
            "bare; m",
            (await Assert.ThrowsAsync<LaunchException>(() => api.ViewerAsync(default))).Message,
            StringComparison.Ordinal
        );
        Assert.Equal(
            "ServerAnswerInvalid",
            (await Assert.ThrowsAsync<LaunchException>(() => api.ViewerAsync(default))).ErrorId
        );
        await server;
        Assert.Contains(
            "Authorization: Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Key)),
            requests[0],
            StringComparison.Ordinal
        );
        Assert.Contains("X-WANDB-USERNAME: me", requests[0], StringComparison.Ordinal);
        Assert.Contains("X-Extra: 1", requests[0], StringComparison.Ordinal);
    }

    [Fact]
    public void Secrets_are_masked_in_messages()
    {
        Secrets.Register("very-secret-value");
        Assert.Equal(
            "a *** b https://***@github.com/x WANDB_API_KEY=***",
            Secrets.Mask("a very-secret-value b https://user:pw@github.com/x WANDB_API_KEY=abc-def")
        );
        Assert.True(
            Secrets.IsSecretName("MY_API_KEY")
                && Secrets.IsSecretName("GITHUB_TOKEN")
                && !Secrets.IsSecretName("TOKENIZERS_PARALLELISM")
        );
    }
}
