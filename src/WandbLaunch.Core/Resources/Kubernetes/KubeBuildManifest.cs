using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>
/// A Job that builds an image in the cluster and pushes it, and the Secrets that belong to it. All names come from the image's,
/// so that whoever needs the same image meets at one Job.
/// </summary>
internal sealed record KubeBuildManifest
{
    /// <summary>On the Job and its pods: which image it makes, as a label can hold it.</summary>
    internal const string BuildLabel = "wandb.ai/image-build";

    /// <summary>The container that builds: its log is the build's, its last word the digest.</summary>
    internal const string Container = "build";

    private const string Pieces = "/pieces";
    private const string Work = "/workspace";
    private const string Archive = Work + "/context.tar.gz";

    internal required KubeBuilder Builder { get; init; }
    internal required string Namespace { get; init; }
    internal required string Image { get; init; }

    /// <summary>What the image stands on. It has a shell, for it is built with one: it puts the pieces together.</summary>
    internal required string BaseImage { get; init; }
    internal required int PieceCount { get; init; }

    /// <summary>There is a login for the registries.</summary>
    internal bool HasLogin { get; init; }

    /// <summary>pip has settings.</summary>
    internal bool HasSettings { get; init; }

    /// <summary>The server knows podFailurePolicy.</summary>
    internal bool FailurePolicy { get; init; }

    internal string Name => KubeNames.ObjectName("wandb-image", Label);

    /// <summary>Names the image.</summary>
    internal string Label => Foundation.LaunchCache.Hash(Image)[..16];

    internal KubeHandle Handle => new(KubeKind.Job, Namespace, Name);

    private string LoginName => Name + "-login";

    private string SettingsName => Name + "-pip";

    /// <summary>The Job.</summary>
    internal JsonObject Job()
    {
        var spec = new JsonObject
        {
            ["backoffLimit"] = 0,
            ["activeDeadlineSeconds"] = 7200,
            ["ttlSecondsAfterFinished"] = 3600,
        };
        if (FailurePolicy)
        {
            spec["podFailurePolicy"] = KubeManifest.IgnoreDisruptions();
        }

        spec["template"] = new JsonObject
        {
            ["metadata"] = new JsonObject
            {
                ["labels"] = Labels(),
                ["annotations"] = new JsonObject { [KubeNames.MainContainer] = Container },
            },
            ["spec"] = new JsonObject
            {
                ["restartPolicy"] = "Never",
                ["automountServiceAccountToken"] = false,
                ["initContainers"] = new JsonArray(Joiner()),
                ["containers"] = new JsonArray(Builder.IsKaniko ? Kaniko() : BuildKit()),
                ["volumes"] = Volumes(),
            },
        };
        return new JsonObject
        {
            ["apiVersion"] = KubeKind.Job.ApiVersion,
            ["kind"] = "Job",
            ["metadata"] = new JsonObject
            {
                ["name"] = Name,
                ["namespace"] = Namespace,
                ["labels"] = Labels(),
                ["annotations"] = new JsonObject { ["wandb.ai/image"] = Image },
            },
            ["spec"] = spec,
        };
    }

    /// <summary>All Secrets, given to the Job, with which they go.</summary>
    /// <param name="owner">The Job as the server has it.</param>
    /// <param name="pieces">The archive.</param>
    /// <param name="login">docker's config.json with the logins; null: none.</param>
    /// <param name="settings">Files of pip's settings.</param>
    internal IEnumerable<JsonObject> Secrets(
        JsonObject owner,
        IReadOnlyList<byte[]> pieces,
        string? login,
        IReadOnlyDictionary<string, string> settings
    )
    {
        for (var i = 0; i < pieces.Count; i++)
        {
            yield return Secret(owner, PieceName(i), "Opaque", [("piece", pieces[i])]);
        }

        if (login is not null)
        {
            yield return Secret(
                owner,
                LoginName,
                "kubernetes.io/dockerconfigjson",
                [(".dockerconfigjson", Encoding.UTF8.GetBytes(login))]
            );
        }

        if (settings.Count > 0)
        {
            yield return Secret(
                owner,
                SettingsName,
                "Opaque",
                settings.Select(s => (s.Key, Encoding.UTF8.GetBytes(s.Value)))
            );
        }
    }

    private string PieceName(int index) => $"{Name}-{index.ToString(CultureInfo.InvariantCulture)}";

    private JsonObject Labels() => new() { [KubeNames.ManagerLabel] = KubeNames.Manager, [BuildLabel] = Label };

    private JsonObject Secret(
        JsonObject owner,
        string name,
        string type,
        IEnumerable<(string Key, byte[] Value)> values
    ) =>
        new()
        {
            ["apiVersion"] = "v1",
            ["kind"] = "Secret",
            ["type"] = type,
            ["metadata"] = new JsonObject
            {
                ["name"] = name,
                ["namespace"] = Namespace,
                ["labels"] = Labels(),
                ["ownerReferences"] = new JsonArray(
                    new JsonObject
                    {
                        ["apiVersion"] = KubeKind.Job.ApiVersion,
                        ["kind"] = "Job",
                        ["name"] = Name,
                        ["uid"] = owner.Str("metadata", "uid"),
                    }
                ),
            },
            ["data"] = KubeJson.MapOf(values.Select(v => KeyValuePair.Create(v.Key, Convert.ToBase64String(v.Value)))),
        };

    private JsonObject Joiner() =>
        new()
        {
            ["name"] = "code",
            ["image"] = BaseImage,
            ["command"] = new JsonArray("sh", "-c", $"cat {Pieces}/* > {Archive} && chmod 644 {Archive}"),
            ["securityContext"] = new JsonObject
            {
                ["runAsUser"] = 0,
                ["allowPrivilegeEscalation"] = false,
                ["capabilities"] = new JsonObject { ["drop"] = new JsonArray("ALL") },
            },
            ["volumeMounts"] = new JsonArray(Mount("pieces", Pieces, true), Mount("workspace", Work, false)),
        };

    private JsonObject Kaniko()
    {
        // It works on the file system of its own container, as root, and needs no more than that.
        var mounts = new JsonArray(Mount("workspace", Work, false));
        if (HasLogin)
        {
            mounts.Add(Mount("login", "/kaniko/.docker", true));
        }

        if (HasSettings)
        {
            mounts.Add(Mount("pip", KubeBuildContext.Settings, true));
        }

        return new JsonObject
        {
            ["name"] = Container,
            ["image"] = Builder.Image,
            ["args"] = new JsonArray(
                "--context=tar://" + Archive,
                "--dockerfile=Dockerfile",
                "--destination=" + Image,
                "--digest-file=/dev/termination-log",
                "--log-format=text"
            ),
            ["securityContext"] = new JsonObject { ["runAsUser"] = 0, ["allowPrivilegeEscalation"] = false },
            ["volumeMounts"] = mounts,
        };
    }

    private JsonObject BuildKit()
    {
        var mounts = new JsonArray(
            Mount("workspace", Work, false),
            Mount("state", "/home/user/.local/share/buildkit", false)
        );
        var environment = new JsonArray(
            Variable("IMAGE", Image),
            Variable("BUILDKITD_FLAGS", "--oci-worker-no-process-sandbox")
        );
        if (HasLogin)
        {
            mounts.Add(Mount("login", "/login", true));
            environment.Add(Variable("DOCKER_CONFIG", "/login"));
        }

        if (HasSettings)
        {
            mounts.Add(Mount("pip", KubeBuildContext.Settings, true));
        }

        return new JsonObject
        {
            ["name"] = Container,
            ["image"] = Builder.Image,
            ["command"] = new JsonArray("sh", "-c", Script()),
            ["env"] = environment,
            // Without root it makes namespaces of its own, which the runtime's profiles do not allow.
            ["securityContext"] = new JsonObject
            {
                ["runAsUser"] = 1000,
                ["runAsGroup"] = 1000,
                ["seccompProfile"] = new JsonObject { ["type"] = "Unconfined" },
            },
            ["volumeMounts"] = mounts,
        };
    }

    // A secret that is named in the Dockerfile and not given is no file there.
    private static string Script() =>
        $"""
            set -e
            mkdir /tmp/context; tar -xzf {Archive} -C /tmp/context
            set --; for f in pip pip.conf; do if [ -f {KubeBuildContext.Settings}/$f ]; then set -- "$@" --secret "id=$f,src={KubeBuildContext.Settings}/$f"; fi; done
            buildctl-daemonless.sh build --progress plain --frontend dockerfile.v0 --local context=/tmp/context --local dockerfile=/tmp/context --output "type=image,name=$IMAGE,push=true" --metadata-file /tmp/built "$@"
            sed -n 's/.*"containerimage.digest": *"\([^"]*\)".*/\1/p' /tmp/built > /dev/termination-log
            """;

    private JsonArray Volumes()
    {
        var sources = new JsonArray();
        for (var i = 0; i < PieceCount; i++)
        {
            sources.Add(
                new JsonObject
                {
                    ["secret"] = new JsonObject
                    {
                        ["name"] = PieceName(i),
                        ["items"] = new JsonArray(
                            new JsonObject
                            {
                                ["key"] = "piece",
                                ["path"] = i.ToString("000", CultureInfo.InvariantCulture),
                            }
                        ),
                    },
                }
            );
        }

        var volumes = new JsonArray(
            new JsonObject
            {
                ["name"] = "pieces",
                ["projected"] = new JsonObject { ["sources"] = sources },
            },
            new JsonObject { ["name"] = "workspace", ["emptyDir"] = new JsonObject() }
        );
        if (!Builder.IsKaniko)
        {
            volumes.Add(new JsonObject { ["name"] = "state", ["emptyDir"] = new JsonObject() });
        }

        if (HasLogin)
        {
            volumes.Add(
                new JsonObject
                {
                    ["name"] = "login",
                    ["secret"] = new JsonObject
                    {
                        ["secretName"] = LoginName,
                        ["items"] = new JsonArray(
                            new JsonObject { ["key"] = ".dockerconfigjson", ["path"] = "config.json" }
                        ),
                    },
                }
            );
        }

        if (HasSettings)
        {
            volumes.Add(
                new JsonObject
                {
                    ["name"] = "pip",
                    ["secret"] = new JsonObject { ["secretName"] = SettingsName },
                }
            );
        }

        return volumes;
    }

    private static JsonObject Mount(string name, string path, bool readOnly)
    {
        var mount = new JsonObject { ["name"] = name, ["mountPath"] = path };
        if (readOnly)
        {
            mount["readOnly"] = true;
        }

        return mount;
    }

    private static JsonObject Variable(string name, string value) => new() { ["name"] = name, ["value"] = value };
}
