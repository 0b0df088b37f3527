using System.IO.Enumeration;
using System.Text.RegularExpressions;

namespace WandbLaunch.Model;

/// <summary>
/// What -AllowImage allows. Names and patterns are read as docker reads them, so that "python", "docker.io/python:latest"
/// and "docker.io/library/python:latest" are one. Host, repository and version are compared apart: a * in one
/// of them never reaches into another.
/// </summary>
internal sealed partial record ImagePattern(string Host, string Repository, string? Tag, string? Digest)
{
    /// <summary>True when the image is allowed.</summary>
    internal static bool Allows(string pattern, string image)
    {
        if (pattern == "*")
        {
            return true;
        }

        // Docker takes a name of hexadecimal digits for the id of any image that is on the machine.
        if (ImageId().IsMatch(image))
        {
            return false;
        }

        var (allowed, asked) = (Read(pattern), Read(image));

        // Of a repository all versions, where the pattern names none and ends in *; a name without a version is docker's latest.
        var all = allowed is { Tag: null, Digest: null } && allowed.Repository.EndsWith('*');
        return Same(allowed.Host, asked.Host)
            && Same(allowed.Repository, asked.Repository)
            && (
                all
                || (
                    asked.Digest is null
                        ? allowed.Digest is null && Same(allowed.Tag ?? "latest", asked.Tag ?? "latest")
                        // Docker looks at the digest alone and lets any tag stand beside it.
                        : allowed.Tag == "*" || (allowed.Digest is { } digest && Same(digest, asked.Digest))
                )
            );
    }

    private static ImagePattern Read(string text)
    {
        var at = text.IndexOf('@', StringComparison.Ordinal);
        var digest = at < 0 ? null : text[(at + 1)..];
        var name = at < 0 ? text : text[..at];
        var colon = name.LastIndexOf(':');
        var tag = colon > name.LastIndexOf('/') ? name[(colon + 1)..] : null;
        name = tag is null ? name : name[..colon];

        // The first part is a host when docker would take it for one.
        var slash = name.IndexOf('/', StringComparison.Ordinal);
        var first = slash < 0 ? "" : name[..slash];
        var isHost = first == "localhost" || first.IndexOfAny(['.', ':']) >= 0 || first.Any(char.IsUpper);
        var host = isHost ? first.ToLowerInvariant() : "docker.io";
        var repository = isHost ? name[(slash + 1)..] : name;
        host = host is "index.docker.io" or "registry-1.docker.io" ? "docker.io" : host;
        return new ImagePattern(
            host,
            host == "docker.io" && !repository.Contains('/', StringComparison.Ordinal)
                ? "library/" + repository
                : repository,
            tag,
            digest
        );
    }

    private static bool Same(string pattern, string value) =>
        FileSystemName.MatchesSimpleExpression(pattern, value, false);

    [GeneratedRegex(@"^(sha256:[0-9a-fA-F]+|[0-9a-f]{1,64})$")]
    private static partial Regex ImageId();
}
